package daemon

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/jackc/pgx/v5"
	"google.golang.org/protobuf/types/known/fieldmaskpb"

	"github.com/cloned-db/cloned/client"
	"github.com/cloned-db/cloned/container"
	"github.com/cloned-db/cloned/errs"
	"github.com/cloned-db/cloned/internal/need"
	clonedv1 "github.com/cloned-db/cloned/proto/cloned/v1"
)

// initdb makes a stopped data directory that belongs to who runs databases here.
func initdb(t *testing.T, owner container.User) string {
	t.Helper()
	dir, err := os.MkdirTemp("/var/tmp", "cloned-source-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	if err := os.Chown(dir, owner.UID, owner.GID); err != nil {
		t.Fatal(err)
	}
	data := filepath.Join(dir, "data")
	cmd := exec.CommandContext(t.Context(), filepath.Join(need.Postgres(t), "initdb"), "-D", data, "-U", "postgres", "--no-sync", "--locale=C.UTF-8")
	cmd.Dir = dir
	if os.Geteuid() == 0 {
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(owner.UID), Gid: uint32(owner.GID)}}
	}
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("initdb: %v\n%s", err, out)
	}
	return data
}

// createGolden returns the phases that were reported.
func createGolden(t *testing.T, c *client.Client, name, directory string) (golden *clonedv1.Golden, phases []string) {
	t.Helper()
	stream, err := c.Goldens.CreateGolden(t.Context(), &clonedv1.CreateGoldenRequest{
		Name:   name,
		Source: &clonedv1.Source{Kind: &clonedv1.Source_Directory{Directory: &clonedv1.DirectorySource{Path: directory}}},
	})
	if err != nil {
		t.Fatal(err)
	}
	for {
		event, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return golden, slices.Compact(phases)
		}
		if err != nil {
			e := errs.As(err)
			t.Fatalf("creating the golden: %v (%s)\n%s", err, e.Hint, strings.Join(e.Log, "\n"))
		}
		if p := event.GetProgress(); p != nil {
			phases = append(phases, p.GetPhase())
		}
		golden = event.GetGolden()
	}
}

func query(t *testing.T, url, sql string) (answer string) {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(context.Background())
	results, err := conn.PgConn().Exec(t.Context(), sql).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	return string(results[len(results)-1].Rows[0][0])
}

// TestStory is the way from a stopped data directory to a clone and back, with
// a restart of the daemon in between, over the real API.
func TestStory(t *testing.T) {
	cfg := testConfig(t)
	log := &logBuffer{}
	o := Options{Version: "v0-test", Log: slog.New(slog.NewJSONHandler(log, &slog.HandlerOptions{Level: slog.LevelDebug}))}
	d, err := Open(t.Context(), cfg, o)
	if err != nil {
		t.Fatal(err)
	}
	source := initdb(t, d.runtime.DefaultUser())
	if err := d.close(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("the daemon's log:\n%s", strings.Join(log.lines(""), ""))
		}
	})
	stop := startDaemon(t, cfg, o)
	c := dialDaemon(t, cfg.Listen[0])
	golden, phases := createGolden(t, c, "shop", source)
	if golden.GetNewestSnapshot().GetMajor() < 12 || len(phases) < 3 {
		t.Errorf("golden %v, phases %v", golden, phases)
	}

	ctx := client.WithRequestID(t.Context(), "story-1")
	clone, created, err := c.CreateAndWait(ctx, &clonedv1.CreateCloneRequest{Name: "dev", Golden: "shop", Labels: map[string]string{"job": "1"}})
	if err != nil {
		t.Fatalf("%v (%s)\n%s", err, errs.As(err).Hint, strings.Join(errs.As(err).Log, "\n"))
	}
	t.Cleanup(func() { removeAll(t, cfg) })
	if !created || clone.GetState() != clonedv1.CloneState_CLONE_STATE_READY || clone.GetEndpoint().GetPassword() == "" || len(clone.GetTimings()) == 0 {
		t.Errorf("created %v: %v", created, clone)
	}
	if lines := log.lines("story-1"); len(lines) < 2 {
		t.Errorf("the request can't be followed in the log: %q", lines)
	}
	url := clone.GetEndpoint().GetUrl()
	if got := query(t, url, "SELECT current_setting('server_version_num')"); len(got) != 6 {
		t.Error(got)
	}
	same, created, err := c.CreateAndWait(t.Context(), &clonedv1.CreateCloneRequest{Name: "dev", Golden: "shop", Labels: map[string]string{"job": "1"}})
	if err != nil || created || same.GetId() != clone.GetId() {
		t.Errorf("the same again: %v, %v, %v", created, same, err)
	}
	if _, _, err := c.CreateAndWait(t.Context(), &clonedv1.CreateCloneRequest{Name: "dev", Golden: "shop"}); !errs.Is(err, errs.Exists) {
		t.Errorf("another under its name: %v", err)
	}
	listed, err := c.Clones.ListClones(t.Context(), &clonedv1.ListClonesRequest{})
	if err != nil || len(listed.GetClones()) != 1 || listed.GetClones()[0].GetEndpoint().GetPassword() != "" {
		t.Errorf("list: %v, %v", listed, err)
	}
	var logs bytes.Buffer
	if err := c.Logs(t.Context(), "dev", 100, false, &logs); err != nil || !strings.Contains(logs.String(), "ready to accept connections") {
		t.Errorf("logs: %v\n%s", err, &logs)
	}
	checkMetrics(t, cfg)

	// An open connection outlives the daemon.
	conn, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(context.Background())
	stop()
	changed := cfg
	changed.Storage.Dir.Root = filepath.Join(cfg.StateDir, "elsewhere")
	if _, err := Open(t.Context(), changed, o); errs.As(err).Reason != "DRIVER_CHANGED" {
		t.Errorf("volumes elsewhere: %v", err)
	}
	if err := Teardown(t.Context(), cfg, o.Log); errs.As(err).Reason != "NOT_EMPTY" {
		t.Errorf("teardown with a clone: %v", err)
	}
	stop = startDaemon(t, cfg, o)
	c = dialDaemon(t, cfg.Listen[0])
	if err := conn.Ping(t.Context()); err != nil {
		t.Errorf("the restart broke a connection: %v", err)
	}
	again, err := c.WaitState(t.Context(), "dev", clonedv1.CloneState_CLONE_STATE_READY)
	if err != nil || again.GetEndpoint().GetUrl() != url {
		t.Errorf("after a restart: %v, %v", again, err)
	}
	query(t, url, "CREATE TABLE kept AS SELECT 'yes' AS answer; SELECT 'made'")
	stop()
	c = adoptLost(t, cfg, o)
	deleteAll(t, c)
}

// adoptLost loses the records, and starts with what can be found again.
func adoptLost(t *testing.T, cfg Config, o Options) *client.Client {
	t.Helper()
	if err := os.Remove(storePath(cfg.StateDir)); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(t.Context(), cfg, o); errs.As(err).Reason != "RECORDS_LOST" {
		t.Errorf("without records: %v", err)
	}
	o.Adopt = true
	startDaemon(t, cfg, o)
	c := dialDaemon(t, cfg.Listen[0])
	listed, err := c.Clones.ListClones(t.Context(), &clonedv1.ListClonesRequest{})
	if err != nil || len(listed.GetClones()) != 1 {
		t.Fatalf("adopted: %v, %v", listed, err)
	}
	name := listed.GetClones()[0].GetName()
	if _, err := c.WaitState(t.Context(), name, clonedv1.CloneState_CLONE_STATE_SUSPENDED); err != nil {
		t.Fatal(err)
	}
	resumed, err := c.Clones.ResumeClone(t.Context(), &clonedv1.ResumeCloneRequest{Name: name, NewPort: true})
	if err != nil {
		t.Fatalf("resuming what was adopted: %v (%s)", err, errs.As(err).Hint)
	}
	if got := query(t, resumed.GetClone().GetEndpoint().GetUrl(), "SELECT answer FROM kept"); got != "yes" {
		t.Errorf("the clone's data: %q", got)
	}
	return c
}

// deleteAll deletes every clone and golden, protected or not.
func deleteAll(t *testing.T, c *client.Client) {
	t.Helper()
	clones, err := c.Clones.ListClones(t.Context(), &clonedv1.ListClonesRequest{})
	if err != nil {
		t.Fatal(err)
	}
	for _, clone := range clones.GetClones() {
		if _, err := c.Clones.UpdateClone(t.Context(), &clonedv1.UpdateCloneRequest{Name: clone.GetName(),
			UpdateMask: &fieldmaskpb.FieldMask{Paths: []string{"protect"}}}); err != nil {
			t.Error(err)
		}
		if _, err := c.Clones.DeleteClone(t.Context(), &clonedv1.DeleteCloneRequest{Name: clone.GetName()}); err != nil {
			t.Error(err)
		}
		if _, err := c.Clones.GetClone(t.Context(), &clonedv1.GetCloneRequest{Name: clone.GetName()}); !errs.Is(err, errs.NotFound) {
			t.Errorf("after its deletion: %v", err)
		}
	}
	goldens, err := c.Goldens.ListGoldens(t.Context(), &clonedv1.ListGoldensRequest{})
	if err != nil {
		t.Fatal(err)
	}
	for _, golden := range goldens.GetGoldens() {
		if _, err := c.Goldens.DeleteGolden(t.Context(), &clonedv1.DeleteGoldenRequest{Name: golden.GetName()}); err != nil {
			t.Error(err)
		}
	}
}

// checkMetrics looks for what a create leaves in the metrics.
func checkMetrics(t *testing.T, cfg Config) {
	t.Helper()
	for _, want := range []string{
		`cloned_operation_duration_seconds_count{operation="create",result="ok"} 1`,
		`cloned_operation_phase_duration_seconds_count{operation="create",phase="ready",result="ok"} 1`,
		`cloned_clones{golden="shop",state="ready"} 1`,
		`cloned_golden_snapshot_age_seconds{golden="shop"}`,
	} {
		eventually(t, want, func() error {
			body, err := httpGet("http://" + cfg.MetricsListen + "/metrics")
			if err == nil && !strings.Contains(body, want) {
				err = errors.New("not in the metrics")
			}
			return err
		})
	}
}

// removeAll removes what a test that failed left behind: processes.
func removeAll(t *testing.T, cfg Config) {
	inst, err := readInstallation(cfg.StateDir)
	if err != nil {
		t.Error(err)
		return
	}
	runtime, err := wiring{cfg: cfg, inst: inst}.openProcess(context.Background())
	if err != nil {
		t.Error(err)
		return
	}
	list, err := runtime.List(context.Background())
	for _, instance := range list {
		err = errors.Join(err, runtime.Remove(context.Background(), instance.ID))
	}
	if err = errors.Join(err, runtime.Close()); err != nil {
		t.Error(fmt.Errorf("removing what is left: %w", err))
	}
}
