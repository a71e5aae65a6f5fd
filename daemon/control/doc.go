// Package control is the control plane: it records what is wanted, compares it
// with what is observed, and makes the one like the other. Requests and
// recovery run through the same plans. It knows the contracts of storage,
// container and database, never a concrete driver, and never the wire format.
package control
