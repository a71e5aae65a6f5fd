package container

import (
	"time"

	"golang.org/x/sys/unix"
)

// Pause waits for less than a millisecond, which time.Sleep can't
// (go.dev/issue/44343): the thread sleeps itself. A signal may end it early.
func Pause(d time.Duration) {
	pause := unix.NsecToTimespec(d.Nanoseconds())
	_ = unix.Nanosleep(&pause, nil)
}
