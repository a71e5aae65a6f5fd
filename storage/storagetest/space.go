package storagetest

import (
	"fmt"
	"path/filepath"
	"testing"

	"github.com/cloned-db/cloned/storage"
)

const mib = 1 << 20

// testUsage: a volume's cost is what it wrote, not what it shares.
func testUsage(t *testing.T, cfg Config) {
	d := cfg.New(t)
	v := create(t, d, "v")
	noise(t, filepath.Join(v.Path, "data"), 8*mib)
	wantUsage(t, d, "v", 8*mib, 9*mib, 8*mib)

	c := clone(t, d, snapshot(t, d, storage.Own("v"), "s").Ref, "c")
	if !d.Capabilities().Thin {
		wantUsage(t, d, "c", 8*mib, 9*mib, 8*mib)
		return
	}
	// A new idle clone takes at most 2 MiB of the pool.
	wantUsage(t, d, "c", 0, 2*mib, 8*mib)
	noise(t, filepath.Join(c.Path, "more"), 4*mib)
	wantUsage(t, d, "c", 4*mib, 6*mib, 12*mib)
}

func wantUsage(t *testing.T, d storage.Driver, id string, least, most, logical int64) {
	t.Helper()
	eventually(t, func() error {
		u, err := d.Usage(t.Context(), id)
		if err != nil {
			return err
		}
		if u.Unique < least || u.Unique > most {
			return fmt.Errorf("volume %s: %d bytes of its own, want %d to %d", id, u.Unique, least, most)
		}
		if u.Logical < logical || u.Logical > logical+mib {
			return fmt.Errorf("volume %s: %d bytes of content, want some %d", id, u.Logical, logical)
		}
		return nil
	})
}

func testSpace(t *testing.T, cfg Config) {
	d := cfg.Full(t)
	before := space(t, d)
	if before.Total <= 0 || before.Free <= 0 || before.Free > before.Total {
		t.Fatalf("space of an empty pool: %+v", before)
	}
	v := create(t, d, "v")
	fill(t, filepath.Join(v.Path, "ballast"))
	eventually(t, func() error {
		after, err := d.Space(t.Context())
		if err != nil {
			return err
		}
		if after.Total <= 0 || after.Free < 0 || after.Free > before.Free/4 {
			return fmt.Errorf("space of a full pool: %+v, empty %+v", after, before)
		}
		return nil
	})
	destroy(t, d, "v")
	eventually(t, func() error {
		after, err := d.Space(t.Context())
		if err != nil {
			return err
		}
		if after.Free < before.Free/2 {
			return fmt.Errorf("space after destroying all: %+v, at first %+v", after, before)
		}
		return nil
	})
}

func space(t *testing.T, d storage.Driver) storage.Space {
	t.Helper()
	s, err := d.Space(t.Context())
	if err != nil {
		t.Fatalf("Space: %v", err)
	}
	return s
}

// testHotCommands counts what stands on the way from request to clone.
func testHotCommands(t *testing.T, cfg Config) {
	d := cfg.New(t)
	create(t, d, "v")
	count := func(what string, call func()) {
		t.Helper()
		before := cfg.Commands(d)
		call()
		if n := cfg.Commands(d) - before; n > cfg.HotCommands {
			t.Errorf("%s ran %d commands, allowed are %d", what, n, cfg.HotCommands)
		}
	}
	var snap storage.Snapshot
	count("Snapshot", func() { snap = snapshot(t, d, storage.Own("v"), "s") })
	count("Clone", func() { clone(t, d, snap.Ref, "c") })
	count("Stat", func() { stat(t, d, "c") })
}
