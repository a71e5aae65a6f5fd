package docker_test

import (
	"context"
	"crypto/rand"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/cloned-db/cloned/container"
	"github.com/cloned-db/cloned/container/containertest"
	"github.com/cloned-db/cloned/container/docker"
	"github.com/cloned-db/cloned/errs"
	"github.com/cloned-db/cloned/internal/need"
)

// image is what scripts/postgres-image makes of this host's packages, where no
// registry is reachable.
var image = "postgres:" + newestMajor()

func newestMajor() string {
	found, err := filepath.Glob("/usr/lib/postgresql/[1-9][0-9]")
	if err != nil || len(found) == 0 {
		return "absent"
	}
	return filepath.Base(slices.Max(found))
}

// needImage makes the image if it is not there.
func needImage(t testing.TB) {
	t.Helper()
	need.Root(t)
	need.Docker(t)
	need.Postgres(t)
	must(t, "../../scripts/postgres-image", image)
}

func opener(instance string) func() (container.Runtime, error) {
	return func() (container.Runtime, error) {
		return docker.Open(context.Background(), docker.Config{Instance: instance})
	}
}

func TestConformance(t *testing.T) {
	needImage(t)
	// What an aborted run left behind must not be taken for this one's.
	installation := strings.ToLower(rand.Text()[:8])
	containertest.Run(t, containertest.Subject{
		Open: opener(installation), OpenOther: opener("x" + installation),
		Image: image, AbsentImage: "localhost:1/no/such/image:1",
	})
}

// TestCheckSetup takes away what Setup makes: it is told, and not mended.
func TestCheckSetup(t *testing.T) {
	need.Root(t)
	need.Docker(t)
	if _, err := exec.LookPath("nft"); err != nil {
		t.Skip("needs nft to damage the rules")
	}
	installation := strings.ToLower(rand.Text()[:8])
	rt, err := opener(installation)()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx := context.WithoutCancel(t.Context())
		if err := rt.Teardown(ctx); err != nil {
			t.Error(err)
		}
		if err := rt.Close(); err != nil {
			t.Error(err)
		}
	})
	check := func(reason string) {
		t.Helper()
		for range 2 { // a look that mended it would be satisfied the second time
			if err := rt.CheckSetup(t.Context()); errs.As(err).Reason != reason || errs.As(err).Hint == "" {
				t.Fatalf("CheckSetup: %v, want %s", err, reason)
			}
		}
	}
	whole := func() {
		t.Helper()
		if err := rt.Setup(t.Context()); err != nil {
			t.Fatal(err)
		}
		if err := rt.CheckSetup(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	check(container.ReasonNotIsolated)
	whole()
	must(t, "docker", "network", "rm", "cloned-"+installation)
	check("NO_NETWORK")
	whole()
	must(t, "nft", "flush", "chain", "inet", "cloned-"+installation, "forward")
	check(container.ReasonNotIsolated)
}
