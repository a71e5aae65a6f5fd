// Package audit is the record of who changed what, and who read credentials: one
// JSON line a call, in a file that is rotated, and in the system's journal where
// there is one. Nothing that a caller says can keep its call out of it.
package audit
