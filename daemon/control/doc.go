// Package control is the control plane: it records what is wanted, compares it
// with what is observed, and makes the one like the other. Requests and
// recovery run through the same plans. It knows the contracts of storage,
// container and database, never a concrete driver, and never the wire format.
//
// # How it goes
//
// A request writes what it wants into a record (clone_create.go, clone_change.go,
// clone_delete.go), wakes the record's owner, and waits for news of it
// (waiters.go). The owner is one goroutine at a time for an ID (owners.go). It
// asks planClone (plan.go), the one place that decides, what to do next, does
// that (clone_apply.go), writes down what came of it (clone_outcome.go), and asks
// again (clone_owner.go). A pass (reconcile.go) looks at everything there is, asks
// the same plan about each record (planpass.go), and wakes the owners of what is
// not as wanted: so a daemon that died goes on where it stopped.
//
// What goes when its time is over goes by a clock that nobody sets (clock.go).
//
// A refresh of a golden (refresh.go) is the one thing that is not carried on: its
// record says "preparing", and without a live refresh that means that all it has
// made is removed (snapshot.go).
//
// What bears our mark and has no record, a pass sweeps (sweep.go), or the operator
// does (orphans.go). CheckHealth (checkhealth.go) looks and changes nothing; what is
// wrong is said in finding.go, for it and for Status.
//
// # What must stay true
//
//   - A record is written before anything is done outside, and what is done
//     outside is idempotent, so that what is not known can be done again.
//   - An error never means "it is not there". Only errs.NotFound of a look at one
//     thing does, and only for what was whole before the look.
//   - Outside steps go through Plane.step, which names them as fault points;
//     crash_test.go breaks every operation at each.
//   - The way of a create does nothing in proportion to the number of clones.
package control
