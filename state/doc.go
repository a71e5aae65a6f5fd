// Package state keeps what is wanted on disk: the records of goldens,
// snapshots and clones, in one embedded transactional store. It knows nothing
// of volumes, processes or the network, and a transaction touches memory and
// the store only.
package state
