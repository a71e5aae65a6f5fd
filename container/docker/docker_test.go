package docker_test

import (
	"context"
	"crypto/rand"
	"strings"
	"testing"

	"github.com/cloned-db/cloned/container"
	"github.com/cloned-db/cloned/container/containertest"
	"github.com/cloned-db/cloned/container/docker"
	"github.com/cloned-db/cloned/internal/need"
)

// image is what scripts/postgres-image makes where no registry is reachable.
const image = "postgres:15"

func opener(instance string) func() (container.Runtime, error) {
	return func() (container.Runtime, error) {
		return docker.Open(context.Background(), docker.Config{Instance: instance})
	}
}

func TestConformance(t *testing.T) {
	need.Root(t)
	need.Docker(t)
	// What an aborted run left behind must not be taken for this one's.
	installation := strings.ToLower(rand.Text()[:8])
	containertest.Run(t, containertest.Subject{
		Open: opener(installation), OpenOther: opener("x" + installation),
		Image: image, AbsentImage: "localhost:1/no/such/image:1",
	})
}
