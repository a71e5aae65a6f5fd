package containertest

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/cloned-db/cloned/container"
	"github.com/cloned-db/cloned/errs"
)

// postgres follows a database from its making to its removal, over a clean
// stop and a removal.
func (s suite) postgres(t *testing.T) {
	volume := s.newVolume(t)
	inside := s.rt.VolumePath(volume)
	made := container.Task{
		ID: s.newID(t), Image: s.Image, User: s.user, Volume: volume,
		Argv: []string{"sh", "-ec", `cd "$0"; initdb -D data --no-sync -E UTF8 --locale=C -U admin --auth=trust; echo "host all all 0.0.0.0/0 trust" > hba`, inside},
	}
	if err := s.rt.Run(t.Context(), made); err != nil {
		t.Fatalf("initdb: %v: %q", err, errs.As(err).Log)
	}
	spec := container.Spec{
		ID: s.newID(t), Image: s.Image, Volume: volume, User: s.user, StopSignal: "SIGINT",
		PublishAddr: "127.0.0.1", PublishPort: freePort(t), Port: 5432, Limits: container.Limits{MemoryBytes: 512 << 20},
	}
	addr, port := s.rt.Listen(spec)
	spec.Argv = []string{
		"postgres", "-D", inside + "/data", "-c", "listen_addresses=" + addr, "-c", fmt.Sprintf("port=%d", port),
		"-c", "hba_file=" + inside + "/hba", "-c", "unix_socket_directories=", "-c", "cluster_name=" + spec.ID,
		"-c", "dynamic_shared_memory_type=mmap", // it is killed, and some runtimes share the host's /dev/shm
	}
	ask := func(ctx context.Context, question string) (answer string, err error) {
		ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
		defer cancel()
		conn, err := pgx.Connect(ctx, fmt.Sprintf("postgres://admin@%s:%d/postgres?sslmode=disable", spec.PublishAddr, spec.PublishPort))
		if err != nil {
			return "", err
		}
		defer conn.Close(ctx)
		return answer, conn.QueryRow(ctx, question).Scan(&answer)
	}
	started := func() {
		t.Helper()
		if err := s.rt.Start(t.Context(), spec); err != nil {
			t.Fatalf("Start: %v", err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		err := s.rt.WaitReady(ctx, spec.ID, func(ctx context.Context) error {
			name, err := ask(ctx, "show cluster_name")
			if err == nil && name != spec.ID {
				err = fmt.Errorf("%q answered", name)
			}
			return err
		})
		if err != nil {
			t.Fatalf("WaitReady: %v: %q", err, errs.As(err).Log)
		}
	}
	started()
	if _, err := ask(t.Context(), "select lo_from_bytea(4711, 'kept')::text"); err != nil {
		t.Fatal(err)
	}
	if err := s.rt.Stop(t.Context(), spec.ID, 30*time.Second); err != nil {
		t.Fatalf("Stop: %v", err)
	}
	if in := s.inspect(t, spec.ID); in.State != container.Exited || in.ExitCode != 0 {
		t.Errorf("after a fast shutdown: %+v", in)
	}
	started()
	if got, err := ask(t.Context(), "select convert_from(lo_get(4711), 'UTF8')"); err != nil || got != "kept" {
		t.Errorf("after a restart: %q, %v", got, err)
	}
	segment := segmentOf(t, volume)
	if err := s.rt.Remove(t.Context(), spec.ID); err != nil {
		t.Fatalf("Remove: %v", err)
	}
	if slices.Contains(segments(t), segment) {
		t.Errorf("its System V shared memory %v stays behind", segment)
	}
	if _, err := ask(t.Context(), "select ''"); err == nil {
		t.Error("it answers after its removal")
	}
	// And anew on the same volume, port and ID: as after a removal by hand.
	started()
	if got, err := ask(t.Context(), "select convert_from(lo_get(4711), 'UTF8')"); err != nil || got != "kept" {
		t.Errorf("after a removal: %q, %v", got, err)
	}
}

// segmentOf is the key and the ID of a running server's System V shared memory,
// from line 7 of its lock file; see PostgreSQL's miscadmin.h.
func segmentOf(t *testing.T, volume string) [2]string {
	t.Helper()
	lines := strings.Split(read(t, volume, "data/postmaster.pid"), "\n")
	if len(lines) < 7 {
		t.Fatalf("postmaster.pid: %q", lines)
	}
	fields := strings.Fields(lines[6])
	if len(fields) != 2 {
		t.Fatalf("line 7 of postmaster.pid: %q", lines[6])
	}
	return [2]string{fields[0], fields[1]}
}

// segments are the keys and IDs of the host's; see "shm" in proc_sysvipc(5).
func segments(t *testing.T) (out [][2]string) {
	t.Helper()
	content, err := os.ReadFile("/proc/sysvipc/shm")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(content)) {
		fields := strings.Fields(line)
		out = append(out, [2]string{fields[0], fields[1]})
	}
	return out
}
