// Package crash breaks each operation of a real daemon, on a real filesystem and
// with real databases, at each of its outside steps: the step fails before it has
// done anything, or after, or the daemon is killed (SIGKILL) there. Then every
// clone and golden must be whole or gone, nothing left over, no bystander hurt,
// and the client's retry must succeed.
//
//	CLONED_CRASH=btrfs+docker     what to run on: DRIVER+RUNTIME
//	CLONED_CRASH_MATRIX=FILE      where what was run is recorded (internal/matrix)
//	CLONED_E2E_BIN, _REPO         as in package e2e
//
// Without CLONED_CRASH it is skipped, unless CLONED_REQUIRE names "crash". Each
// case may be run by itself: -test.run 'TestCrashMatrix/reset/instance.stop'.
//
// The daemon is this test's own program: it asks the test at each step what is to
// happen there (faults_test.go). The cloned that users run has no such thing.
package crash
