package zfs

import (
	"context"
	"errors"
	"os/exec"
	"regexp"

	gozfs "github.com/mistifyio/go-zfs/v3"

	"github.com/cloned-db/cloned/errs"
	"github.com/cloned-db/cloned/internal/command"
	"github.com/cloned-db/cloned/storage"
)

// Reasons of this driver's errors beside those of the contract.
const (
	// reasonUnseen: ZFS knows no such dataset, which proves nothing yet. Only
	// fence.go turns it into errs.NotFound.
	reasonUnseen = "DATASET_UNSEEN"
	// reasonAbsent: the dataset is certainly absent.
	reasonAbsent = "DATASET_ABSENT"
	// reasonParent: the parent or its pool is not there.
	reasonParent = "PARENT_UNAVAILABLE"
	// reasonUnfinished: a call that made the dataset has not come to its end.
	reasonUnfinished = "VOLUME_UNFINISHED"
	// reasonTaken: the name belongs to something else.
	reasonTaken = "DATASET_EXISTS"
	// reasonBusy: something holds the dataset open.
	reasonBusy = "DATASET_BUSY"
	// reasonOutput: ZFS answered something that can't be read.
	reasonOutput = "ZFS_OUTPUT"
	// reasonMount: a volume is not, or can't be, mounted where it belongs.
	reasonMount = "NOT_MOUNTED"
	// reasonNoAnswer: the tools are missing, or did not end in time.
	reasonNoAnswer = "ZFS_NO_ANSWER"
	// reasonFailed: a message that is not in rules.
	reasonFailed = "ZFS_FAILED"
)

// rule classifies a line that zfs(8) or zpool(8) wrote on standard error.
type rule struct {
	line   *regexp.Regexp
	kind   errs.Kind
	reason string
	hint   string
}

// on builds a rule for a whole line.
func on(kind errs.Kind, reason, line, hint string) rule {
	return rule{line: regexp.MustCompile(`(?m)^(?:` + line + `)$`), kind: kind, reason: reason, hint: hint}
}

// rules are the messages of OpenZFS 2.1 to 2.3 that are recognised, the same in
// all of them: lib/libzfs/libzfs_util.c, libzfs_dataset.c, libzfs_mount.c and
// cmd/zfs/zfs_main.c there. Names can't contain a quote or a line break. The
// first rule that matches any line wins.
var rules = []rule{
	on(errs.Unavailable, reasonUnseen,
		`cannot open '[^']*': dataset does not exist`+
			`|cannot create snapshot '[^']*': dataset does not exist`+
			`|could not find any snapshots to destroy; check snapshot names\.`, ""),
	on(errs.Unavailable, reasonParent,
		`cannot (?:create|open) '[^']*': (?:no such pool(?: '[^']*')?|parent does not exist|no such parent '[^']*')`+
			`|[Cc]annot get properties of [^ ]+: no such pool available\.`,
		"import the pool (zpool import), or restore the parent dataset"),
	on(errs.Precondition, storage.ReasonHasDependents,
		`cannot destroy '[^']*': (?:filesystem|snapshot) has (?:children|dependent clones)`+
			`|cannot destroy snapshot [^ ]+: snapshot is cloned`+
			`|cannot destroy '[^']*': dataset already exists`,
		"destroy what depends on it first; zfs list -r -t all shows snapshots that other tools made"),
	on(errs.Exists, reasonTaken, `cannot create (?:snapshot )?'[^']*': dataset already exists`, ""),
	on(errs.Unavailable, reasonBusy,
		`cannot (?:open|create|mount|unmount|destroy)(?: snapshots?)?(?: [^ ]+)?: (?:(?:pool or |mountpoint or )?dataset is busy)`,
		"stop the processes that use it (fuser -vm shows them) and try again"),
	on(errs.Exhausted, storage.ReasonPoolFull, `cannot [^:]*: out of space`,
		"free space in the pool, or raise the quota of the parent dataset"),
	on(errs.Denied, "PERMISSION_DENIED",
		`cannot [^:]*: (?:permission denied|Insufficient privileges)`+
			`|Permission denied the ZFS utilities must be run as root\.`+
			`|filesystem successfully created, but it may only be mounted by root`,
		"run cloned as root: mounting needs it, whatever zfs allow grants"),
	on(errs.Unavailable, "POOL_SUSPENDED", `cannot [^:]*: pool I/O is currently suspended`,
		"see zpool status; after repair, zpool clear"),
	on(errs.Unavailable, "KEY_NOT_LOADED",
		`cannot [^:]*: (?:encryption key not loaded|encryption root's key is not loaded or provided)`,
		"load the key with zfs load-key"),
	on(errs.Unavailable, reasonNoAnswer,
		`The ZFS modules (?:are not loaded|cannot be auto-loaded)\.|/dev/zfs and /proc/self/mounts are required\.`,
		"load the kernel module with modprobe zfs"),
}

// classify makes an *errs.Error of the failure of a command. What it does not
// recognise becomes errs.Internal. It never returns errs.NotFound.
func classify(err error) *errs.Error {
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return errs.New(errs.Unavailable, reasonNoAnswer, "zfs did not answer in time: %w", err)
	}
	if errors.Is(err, exec.ErrNotFound) {
		return errs.New(errs.Unavailable, reasonNoAnswer, "%w", err).WithHint("install OpenZFS (Debian and Ubuntu: zfsutils-linux)")
	}
	said := stderrOf(err)
	for _, r := range rules {
		if r.line.MatchString(said) {
			return errs.New(r.kind, r.reason, "%w", err).WithHint("%s", r.hint)
		}
	}
	return errs.New(errs.Internal, reasonFailed, "%w", err)
}

func stderrOf(err error) string {
	var ran *command.Error
	if errors.As(err, &ran) {
		return ran.Stderr
	}
	var viaLibrary *gozfs.Error
	if errors.As(err, &viaLibrary) {
		return viaLibrary.Stderr
	}
	return ""
}

func hasReason(err error, reason string) bool {
	return err != nil && errs.As(err).Reason == reason
}

// existsForeign is foreignError for a call that was to make the dataset.
func existsForeign(name string) *errs.Error {
	e := foreignError(name)
	e.Kind = errs.Exists
	return e
}

func foreignError(name string) *errs.Error {
	return errs.New(errs.Precondition, storage.ReasonForeign, "dataset %s exists and was not made by this installation of cloned", name).
		WithHint("nothing was changed; zfs get %s %s shows who made it", markProperty, name)
}
