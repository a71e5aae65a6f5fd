// Package bench measures what users wait for, each beside the floor measured in
// the same run: the bare filesystem command, the container's create and start
// with the same settings, and the database's first protocol answer, looked for
// every 2 ms. What is compared takes turns. A row may bear a bound: the most that
// its ratio may be, or its time where it has no floor. See "make bench".
//
//	CLONED_BENCH=btrfs+docker,btrfs+process   what to measure on
//	CLONED_BENCH_SHORT=1                      the short form, for slow machines
//	CLONED_BENCH_OUT=build/bench.json         where the rows go
package bench
