// Package rehearse watches a PostgreSQL server while a command, such as a
// schema migration, works on it, and reports what the command would have done
// to a busy production database: which locks it held and for how long, which
// tables it rewrote, how much WAL it wrote, how much the data grew, which
// statements took the time, and what the server's log complains about.
//
// Run is the whole of it; Watch and Stop are its halves. A Gate turns a Report
// into pass or fail.
//
// # What the numbers can and cannot say
//
// Locks are sampled, every 20 ms unless told otherwise. Report.Sampling says
// what was achieved: a lock held for less than Sampling.MaxGap can be missed
// altogether, and the times of those that were seen are off by at most that,
// either way. Everything but locks and sampled statements is the difference of
// two readings, one before and one after, and so is exact, but has in it what
// anybody else did to the server meanwhile: watch a server of one's own, such
// as a clone.
//
// # What the watcher leaves behind
//
// Nothing, after Stop. It keeps one session, in the database "postgres" where
// there is one, because a session elsewhere would stand in the way of DROP
// DATABASE; other databases it visits for moments. Its sessions are in neither
// pg_stat_statements nor the server's log.
package rehearse
