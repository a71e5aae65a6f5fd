// Package e2e holds the end-to-end tests: the real cloned and clonectl, real
// PostgreSQL, on a real filesystem. Which ones, the environment says:
//
//	CLONED_E2E=btrfs+docker,dir+process   what to run on (zfs+docker in the test machine)
//	CLONED_E2E_BIN=build/bin              where cloned and clonectl are
//	CLONED_E2E_REPO=.                     where the repository's scripts are
//	CLONED_E2E_KEEP=1                     keep the directory of a test that failed
//
// Without CLONED_E2E they are skipped, unless CLONED_REQUIRE names "e2e".
package e2e
