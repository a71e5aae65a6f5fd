package container

import (
	"errors"
	"time"

	"golang.org/x/sys/unix"

	"github.com/cloned-db/cloned/errs"
)

// freezeTry is how long one try to stop all processes may take, and freezeTries
// how many there are: a process that waits for a child of vfork(2) can't be
// stopped, and if the child has been, it waits for ever. So all are let go on then.
// freezePoll is between two looks: it is short, for their users wait.
const (
	freezeTry   = 50 * time.Millisecond
	freezeTries = 100
	freezePoll  = 20 * time.Microsecond
)

// FreezeInTries is Freeze for runtimes: it calls try, which is to stop all processes
// before the deadline, until that says that it has, and thaw after each that has not. An
// error of either ends it; when there have been enough it is errs.Unavailable. what is
// named in that.
func FreezeInTries(what string, try func(deadline time.Time) (done bool, err error), thaw func() error) error {
	for range freezeTries {
		done, err := try(time.Now().Add(freezeTry))
		if done {
			return nil
		}
		if err = errors.Join(err, thaw()); err != nil {
			return err
		}
	}
	return errs.New(errs.Unavailable, "NOT_FROZEN", "the processes of %s can't be stopped", what)
}

// PauseFreezing waits between two looks at processes that are to stop: for less than a
// millisecond, which time.Sleep can't (go.dev/issue/44343), so the thread sleeps itself.
// A signal may end it early.
func PauseFreezing() {
	pause := unix.NsecToTimespec(freezePoll.Nanoseconds())
	_ = unix.Nanosleep(&pause, nil)
}
