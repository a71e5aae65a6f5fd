package zfs

import (
	"context"

	"github.com/moby/sys/mountinfo"

	"github.com/cloned-db/cloned/errs"
)

// ForeignPath returns where a foreign dataset is mounted: anywhere, its property
// mountpoint may as well be "legacy".
func (d *Driver) ForeignPath(ctx context.Context, name string) (string, error) {
	if err := d.checkForeign(name); err != nil {
		return "", err
	}
	_, err := d.describe(ctx, name, []string{"type"})
	if errs.Is(err, errs.NotFound) {
		return "", errs.Fieldf("source", "dataset %s does not exist: %w", name, err)
	}
	if err != nil {
		return "", err
	}
	mounts, err := mountinfo.GetMounts(func(m *mountinfo.Info) (skip, stop bool) {
		// A root other than "/" is a part of the dataset, bound elsewhere.
		return m.FSType != "zfs" || m.Source != name || m.Root != "/", false
	})
	if err != nil {
		return "", errs.New(errs.Internal, reasonMount, "reading the mount table: %w", err)
	}
	if len(mounts) == 0 {
		return "", errs.Fieldf("source", "dataset %s is not mounted", name).WithHint("zfs mount %s", name)
	}
	return mounts[0].Mountpoint, nil
}
