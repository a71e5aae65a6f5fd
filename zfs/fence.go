package zfs

import (
	"context"
	"errors"
	"io"
	"strconv"
	"strings"

	"github.com/cloned-db/cloned/errs"
)

// run runs `zfs verb …`, which changes something. Its errs.NotFound is certain.
func (d *Driver) run(ctx context.Context, verb string, args ...string) error {
	loaded := d.loaded.Load()
	_, err := d.runner.Run(ctx, verb, append([]string{"zfs", verb}, args...)...)
	return d.judge(ctx, loaded, err)
}

// read runs argv, which only reads. Its errs.NotFound is certain.
func (d *Driver) read(ctx context.Context, verb string, argv ...string) ([]byte, error) {
	loaded := d.loaded.Load()
	out, err := d.runner.Read(ctx, verb, argv...)
	return out, d.judge(ctx, loaded, err)
}

// stream is read for an answer that is read while it comes.
func (d *Driver) stream(ctx context.Context, verb string, consume func(io.Reader) error, argv ...string) error {
	loaded := d.loaded.Load()
	var refused error
	err := d.runner.Stream(ctx, verb, func(out io.Reader) error {
		refused = consume(out)
		return refused
	}, argv...)
	if refused != nil && errors.Is(err, refused) {
		return errs.New(errs.Internal, reasonOutput, "%w", err)
	}
	return d.judge(ctx, loaded, err)
}

// judge classifies the failure of a command that began when the pool's load was
// loaded.
func (d *Driver) judge(ctx context.Context, loaded *string, err error) error {
	if err == nil {
		return nil
	}
	e := classify(err)
	if e.Reason != reasonUnseen {
		return e
	}
	if err := d.fence(ctx, loaded); err != nil {
		return err
	}
	return errs.New(errs.NotFound, reasonAbsent, "%w", err)
}

// fence returns nil if what a command did not find is certainly absent: the
// pool has been imported without a break since its load was loaded (read before
// the command), and the parent is the very dataset that was opened. While a
// pool is exported, or after the parent was renamed or another pool imported
// under the same name, nothing that can't be seen counts as absent.
//
// The pool's property load_guid is made anew at each import and never changes
// while the pool is imported (zpoolprops(7)).
func (d *Driver) fence(ctx context.Context, loaded *string) error {
	now, err := d.poolLoad(ctx)
	if err != nil {
		return err
	}
	guid, err := d.one(ctx, "zfs", "guid", d.parent)
	if err != nil {
		return err
	}
	if guid != d.parentGUID {
		return errs.New(errs.Unavailable, reasonParent, "dataset %s is not the one that was opened (guid %s, not %s)", d.parent, guid, d.parentGUID).
			WithHint("import the right pool or rename the dataset back; if the change is meant, restart cloned")
	}
	if now != *loaded {
		d.loaded.CompareAndSwap(loaded, &now)
		return errs.New(errs.Unavailable, reasonParent, "pool %s was imported again meanwhile", d.pool).WithHint("try again")
	}
	return nil
}

// poolLoad returns what identifies the present import of the pool.
func (d *Driver) poolLoad(ctx context.Context) (string, error) {
	return d.one(ctx, "zpool", "load_guid", d.pool)
}

// one asks tool for one property that is a number. That the object can't be found
// makes it errs.Unavailable.
func (d *Driver) one(ctx context.Context, tool, property, name string) (string, error) {
	out, err := d.runner.Read(ctx, "get", tool, "get", "-Hp", "-o", "value", property, name)
	if err != nil {
		e := classify(err)
		if e.Reason == reasonUnseen {
			e.Reason = reasonParent
		}
		return "", e
	}
	number := strings.TrimSuffix(string(out), "\n")
	if _, err := strconv.ParseUint(number, 10, 64); err != nil {
		return "", errs.New(errs.Internal, reasonOutput, "%s property %s of %s: %w", tool, property, name, err)
	}
	return number, nil
}
