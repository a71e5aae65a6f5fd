package main

import (
	"context"

	"github.com/cloned-db/cloned/client"
	"github.com/cloned-db/cloned/errs"
	clonedv1 "github.com/cloned-db/cloned/proto/cloned/v1"
)

// lockLabel is on a clone while another is built to take its place; its value is
// that one's name. A lock whose clone nobody holds is left from who died, and is
// taken over. Who holds one and was only out of reach for a while, as during a
// restart of the daemon, finds out before it replaces anything (stillLocked).
const lockLabel = "cloned/replaced-by"

// lockClone is errs.Conflict (BEING_REPLACED) if another has the lock.
func lockClone(ctx context.Context, c *client.Client, clone *clonedv1.Clone, by string) (unlock func(), err error) {
	for {
		if other := clone.GetLabels()[lockLabel]; other != "" {
			holder, err := get(ctx, c, other)
			switch {
			case err == nil && holder.GetHeld() && holder.GetExpireTime() == nil:
				return nil, errBeingReplaced(clone.GetName(), other)
			case err != nil && !errs.Is(err, errs.NotFound):
				return nil, err
			}
		}
		err := changeLock(ctx, c, clone, by)
		if err == nil {
			break
		}
		if errs.As(err).Reason != "REVISION" {
			return nil, err
		}
		id := clone.GetId()
		if clone, err = get(ctx, c, clone.GetName()); err != nil {
			return nil, err
		}
		if clone.GetId() != id {
			return nil, errReplaced(clone.GetName())
		}
	}
	return func() { unlockClone(context.WithoutCancel(ctx), c, clone.GetName(), by) }, nil
}

// unlockClone removes the lock if it is ours. If that fails, it is one that died.
func unlockClone(ctx context.Context, c *client.Client, name, by string) {
	for {
		now, err := get(ctx, c, name)
		if err != nil || now.GetLabels()[lockLabel] != by {
			return
		}
		if err := changeLock(ctx, c, now, ""); err == nil || errs.As(err).Reason != "REVISION" {
			return
		}
	}
}

// changeLock sets the lock of a clone as it was read; "" removes it.
func changeLock(ctx context.Context, c *client.Client, clone *clonedv1.Clone, by string) error {
	req := &clonedv1.UpdateCloneRequest{Name: clone.GetName(), Revision: clone.GetRevision()}
	if by == "" {
		req.RemoveLabels = []string{lockLabel}
	} else {
		req.SetLabels = map[string]string{lockLabel: by}
	}
	_, err := c.Clones.UpdateClone(ctx, req)
	return err
}

// stillLocked is errs.Conflict unless the clone is the same and the lock ours.
func stillLocked(ctx context.Context, c *client.Client, clone *clonedv1.Clone, by string) error {
	now, err := get(ctx, c, clone.GetName())
	switch {
	case err != nil:
		return err
	case now.GetId() != clone.GetId():
		return errReplaced(clone.GetName())
	case now.GetLabels()[lockLabel] != by:
		return errBeingReplaced(clone.GetName(), now.GetLabels()[lockLabel])
	}
	return nil
}

func errBeingReplaced(name, by string) error {
	return errs.New(errs.Conflict, "BEING_REPLACED", "another rebase or merge of %s is under way, in %s", name, by).
		WithHint("wait until it is over")
}

func errReplaced(name string) error {
	return errs.New(errs.Conflict, "CHANGED", "clone %s was deleted, and another made in its place, meanwhile", name)
}
