// Package harness runs the real thing for the end-to-end tests and the
// benchmark: the cloned binary on a filesystem and a runtime, clonectl, and a
// PostgreSQL that plays production.
package harness
