// Package auth says who a caller is and what it may do: principals, roles, and
// the ways in which a caller shows who it is. What a principal's role lets it do
// to clones is enforced by package control, which knows no more than the Caller.
package auth
