package docker_test

import (
	"context"
	"crypto/rand"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/cloned-db/cloned/container"
	"github.com/cloned-db/cloned/container/containertest"
	"github.com/cloned-db/cloned/container/docker"
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
