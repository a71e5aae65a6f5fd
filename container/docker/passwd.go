package docker

import (
	"archive/tar"
	"bytes"
	"context"
	"fmt"

	api "github.com/docker/docker/api/types/container"

	"github.com/cloned-db/cloned/container"
)

// nameUser gives a task's user a name. The owner of a data directory that comes
// from elsewhere has none in the image, and PostgreSQL's single-user mode and
// several of its tools refuse to run as a user without one (get_user_name in
// its source).
func (r *Runtime) nameUser(ctx context.Context, dockerID string, user container.User) error {
	passwd := fmt.Sprintf("root:x:0:0:root:/root:/bin/sh\npostgres:x:%d:%d::/tmp:/bin/sh\n", user.UID, user.GID)
	var archive bytes.Buffer
	w := tar.NewWriter(&archive)
	err := w.WriteHeader(&tar.Header{Name: "passwd", Mode: 0o644, Size: int64(len(passwd))})
	if err == nil {
		_, err = w.Write([]byte(passwd))
	}
	if err == nil {
		err = w.Close()
	}
	if err != nil {
		return err
	}
	return classify("naming the user of a task", r.api.CopyToContainer(ctx, dockerID, "/etc", &archive, api.CopyToContainerOptions{}))
}
