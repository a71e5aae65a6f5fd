// Package client is the Go client of cloned: dialling by URL or environment,
// errors as *errs.Error, and helpers that create a clone and wait for it. The
// messages are those of package clonedv1, the generated API.
//
// It never imports the daemon. What a person sees is in clonectl.
package client
