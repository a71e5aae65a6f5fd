// Package soak runs the daemon for long: clients create, use, reset, fork and
// delete clones while it is killed again and again, and at the end nothing may be
// left, and no error have come that a retry does not cure. See "make soak".
//
//	CLONED_SOAK=btrfs+docker          what to run on
//	CLONED_SOAK_FOR=30m               how long
//	CLONED_SOAK_KILL=1m               how often the daemon is killed
//	CLONED_SOAK_OUT=build/soak.json   where the report goes
//	CLONED_E2E_BIN, CLONED_E2E_REPO   as for the end-to-end tests
//
// Without CLONED_SOAK it is skipped, unless CLONED_REQUIRE names "soak".
package soak
