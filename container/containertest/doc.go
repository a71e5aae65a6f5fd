// Package containertest holds the conformance suite of the container.Runtime
// contract. Every runtime's tests call Run, for real: real processes, real
// images, a real PostgreSQL. What is particular to one runtime is tested beside
// that runtime.
package containertest
