package zfs

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"testing"

	gozfs "github.com/mistifyio/go-zfs/v3"

	"github.com/cloned-db/cloned/errs"
	"github.com/cloned-db/cloned/internal/command"
	"github.com/cloned-db/cloned/storage"
)

func TestClassifyReadsMessagesOfZFS(t *testing.T) {
	for _, c := range []struct {
		stderr string
		kind   errs.Kind
		reason string
	}{
		{"cannot open 'tank/cloned/g-1': dataset does not exist\n", errs.Unavailable, reasonUnseen},
		{"cannot open 'tank/cloned/g-1@a': dataset does not exist\n", errs.Unavailable, reasonUnseen},
		{"cannot open 'tank/x': dataset does not exist\nusage:\n\tsnapshot [-r] [-o property=value] ...\n", errs.Unavailable, reasonUnseen},
		{"cannot create snapshot 'tank/x@a': dataset does not exist\n", errs.Unavailable, reasonUnseen},
		{"could not find any snapshots to destroy; check snapshot names.\n", errs.Unavailable, reasonUnseen},

		{"cannot create 'tank/cloned/g-1': no such pool 'tank'\n", errs.Unavailable, reasonParent},
		{"cannot create 'tank/cloned/g-1': parent does not exist\n", errs.Unavailable, reasonParent},
		{"cannot create 'tank/cloned/g-1': no such parent 'tank/cloned'\n", errs.Unavailable, reasonParent},
		{"cannot open 'tank': no such pool\n", errs.Unavailable, reasonParent},
		{"Cannot get properties of tank: no such pool available.\n", errs.Unavailable, reasonParent},

		{"cannot destroy 'tank/cloned/g-1': filesystem has children\nuse '-r' to destroy the following datasets:\ntank/cloned/g-1@a\n", errs.Precondition, storage.ReasonHasDependents},
		{"cannot destroy 'tank/cloned/g-1@a': snapshot has dependent clones\nuse '-R' to destroy the following datasets:\ntank/cloned/c-1\n", errs.Precondition, storage.ReasonHasDependents},
		{"cannot destroy snapshot tank/cloned/g-1@a: snapshot is cloned\n", errs.Precondition, storage.ReasonHasDependents},
		{"cannot destroy 'tank/cloned/g-1': dataset already exists\n", errs.Precondition, storage.ReasonHasDependents},

		{"cannot create 'tank/cloned/g-1': dataset already exists\n", errs.Exists, reasonTaken},
		{"cannot create snapshot 'tank/cloned/g-1@a': dataset already exists\n", errs.Exists, reasonTaken},

		{"cannot unmount '/tank/cloned/g-1': pool or dataset is busy\n", errs.Unavailable, reasonBusy},
		{"cannot destroy 'tank/cloned/g-1': dataset is busy\n", errs.Unavailable, reasonBusy},
		{"cannot destroy snapshot tank/cloned/g-1@a: dataset is busy\n", errs.Unavailable, reasonBusy},
		{"cannot destroy snapshots: dataset is busy\n", errs.Unavailable, reasonBusy},
		{"cannot mount 'tank/cloned/g-1': mountpoint or dataset is busy\nfilesystem successfully created, but not mounted\n", errs.Unavailable, reasonBusy},

		{"cannot create 'tank/cloned/c-1': out of space\n", errs.Exhausted, storage.ReasonPoolFull},
		{"cannot create snapshot 'tank/cloned/g-1@a': out of space\n", errs.Exhausted, storage.ReasonPoolFull},

		{"cannot create 'tank/cloned/c-1': permission denied\n", errs.Denied, "PERMISSION_DENIED"},
		{"cannot mount 'tank/cloned/c-1': Insufficient privileges\n", errs.Denied, "PERMISSION_DENIED"},
		{"filesystem successfully created, but it may only be mounted by root\n", errs.Denied, "PERMISSION_DENIED"},
		{"Permission denied the ZFS utilities must be run as root.\n", errs.Denied, "PERMISSION_DENIED"},

		{"cannot create 'tank/cloned/c-1': pool I/O is currently suspended\n", errs.Unavailable, "POOL_SUSPENDED"},
		{"cannot iterate filesystems: pool I/O is currently suspended\n", errs.Unavailable, "POOL_SUSPENDED"},
		{"cannot mount '/tank/cloned/c-1': encryption key not loaded\n", errs.Unavailable, "KEY_NOT_LOADED"},
		{"The ZFS modules are not loaded.\nTry running '/sbin/modprobe zfs' as root to load them.\n", errs.Unavailable, reasonNoAnswer},
		{"The ZFS modules cannot be auto-loaded.\nTry running 'modprobe zfs' as root to manually load them.\n", errs.Unavailable, reasonNoAnswer},
		{"/dev/zfs and /proc/self/mounts are required.\nTry running 'udevadm trigger' and 'mount -t proc proc /proc' as root.\n", errs.Unavailable, reasonNoAnswer},

		// What is not recognised, or only looks alike, is nobody's guess.
		{"", errs.Internal, reasonFailed},
		{"cannot open 'tank/cloned/g-1': I/O error\n", errs.Internal, reasonFailed},
		{"cannot iterate filesystems: I/O error\n", errs.Internal, reasonFailed},
		{"internal error: cannot create 'x': Invalid argument\n", errs.Internal, reasonFailed},
		{"warning: cannot open 'tank/x': dataset does not exist\n", errs.Internal, reasonFailed},
		{"cannot open 'tank/x': dataset does not exist (maybe)\n", errs.Internal, reasonFailed},
		{"cannot open 'a' or 'b': dataset does not exist\n", errs.Internal, reasonFailed},
	} {
		for _, err := range []error{
			&command.Error{Argv: []string{"zfs"}, ExitCode: 1, Stderr: c.stderr, Err: errors.New("exit status 1")},
			fmt.Errorf("wrapped: %w", &gozfs.Error{Err: errors.New("exit status 1"), Stderr: c.stderr}),
		} {
			got := classify(err)
			if got.Kind != c.kind || got.Reason != c.reason {
				t.Errorf("%q: got %s %s, want %s %s", c.stderr, got.Kind, got.Reason, c.kind, c.reason)
			}
			if !errors.Is(got, err) {
				t.Errorf("%q: the cause is lost", c.stderr)
			}
			if got.Kind == errs.Unavailable && !got.Retryable {
				t.Errorf("%q: not retryable", c.stderr)
			}
		}
	}
}

func TestClassifyCommandsThatDidNotRun(t *testing.T) {
	for _, cause := range []error{context.Canceled, context.DeadlineExceeded, exec.ErrNotFound} {
		got := classify(&command.Error{Argv: []string{"zfs"}, ExitCode: -1, Stderr: "cannot open 'x': dataset does not exist\n", Err: cause})
		if got.Kind != errs.Unavailable || got.Reason != reasonNoAnswer {
			t.Errorf("%v: got %s %s", cause, got.Kind, got.Reason)
		}
	}
}

func TestOnlyTheFenceSaysNotFound(t *testing.T) {
	for _, r := range rules {
		if r.kind == errs.NotFound {
			t.Errorf("%s: a message of zfs alone proves no absence", r.line)
		}
	}
}
