package main

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	clonedv1 "github.com/cloned-db/cloned/proto/cloned/v1"
)

func (f *fake) CheckHealth(context.Context, *clonedv1.CheckHealthRequest) (*clonedv1.CheckHealthResponse, error) {
	return f.health, nil
}

func (f *fake) ListOrphans(context.Context, *clonedv1.ListOrphansRequest) (*clonedv1.ListOrphansResponse, error) {
	return &clonedv1.ListOrphansResponse{Orphans: f.orphans}, nil
}

func (f *fake) SweepOrphans(_ context.Context, req *clonedv1.SweepOrphansRequest) (*clonedv1.SweepOrphansResponse, error) {
	f.sweeps = append(f.sweeps, req.GetNames())
	resp := &clonedv1.SweepOrphansResponse{}
	for _, name := range req.GetNames() {
		if i := slices.IndexFunc(f.stays, func(l *clonedv1.OrphanLeft) bool { return l.GetName() == name }); i >= 0 {
			resp.Left = append(resp.Left, f.stays[i])
		} else {
			resp.Swept = append(resp.Swept, name)
		}
	}
	return resp, nil
}

// TestDoctor: the exit code is for monitoring, and says the worst that was found.
func TestDoctor(t *testing.T) {
	f, host := serve(t)
	checks := []string{"storage", "clones"}
	warning := &clonedv1.Finding{Severity: clonedv1.Finding_SEVERITY_WARNING, Check: "clones", Message: "dev crashed:\nFATAL \x1b[2J", Remedy: "clonectl logs dev"}
	fault := &clonedv1.Finding{Severity: clonedv1.Finding_SEVERITY_ERROR, Check: "storage", Message: "the pool is away", Remedy: "zpool import"}
	for _, c := range []struct {
		findings []*clonedv1.Finding
		code     int
		says     []string
	}{
		{nil, 0, []string{"all is well: 2 checks in 12 ms (storage, clones)"}},
		{[]*clonedv1.Finding{warning}, 11, []string{"warning", "dev crashed: FATAL \ufffd[2J", "→ clonectl logs dev", "0 errors, 1 warnings: 2 checks"}},
		{[]*clonedv1.Finding{fault, warning}, 12, []string{"error", "the pool is away", "→ zpool import", "1 errors, 1 warnings"}},
	} {
		f.health = &clonedv1.CheckHealthResponse{Checks: checks, Findings: c.findings, Took: durationpb.New(12 * time.Millisecond)}
		out, stderr, code := ctl(t, host, "doctor")
		if code != c.code || stderr != "" {
			t.Errorf("exit %d, want %d: %s", code, c.code, stderr)
		}
		for _, want := range c.says {
			if !strings.Contains(out, want) {
				t.Errorf("no %q in\n%s", want, out)
			}
		}
		var h struct {
			Checks   []string
			Findings []struct{ Severity, Check, Message, Remedy string }
		}
		out, _, code = ctl(t, host, "doctor", "-o", "json")
		if err := json.Unmarshal([]byte(out), &h); err != nil || code != c.code || len(h.Checks) != 2 || len(h.Findings) != len(c.findings) {
			t.Errorf("json: exit %d, %v: %s", code, err, out)
		}
	}
	if _, _, code := ctl(t, "unix:///no/such/socket", "doctor"); code != 8 {
		t.Errorf("without a daemon: exit %d", code)
	}
}

// TestGC asks for nothing but what it has shown.
func TestGC(t *testing.T) {
	f, host := serve(t)
	if out, _, code := ctl(t, host, "gc"); code != 0 || !strings.Contains(out, "no orphans") || len(f.sweeps) > 0 {
		t.Errorf("of none: exit %d: %s, swept %v", code, out, f.sweeps)
	}
	for i := range 150 {
		f.orphans = append(f.orphans, &clonedv1.Orphan{
			Name: fmt.Sprint("volume c-", i), Reason: "there is no clone of it", UniqueBytes: proto.Int64(1 << 20),
			CreateTime: timestamppb.New(time.Now().Add(-3 * time.Hour)),
		})
	}
	f.orphans[1].UniqueBytes = nil
	out, _, code := ctl(t, host, "gc", "--dry-run")
	if code != 0 || !strings.Contains(out, "1.0 MiB  3h   volume c-0 ") || !strings.Contains(out, "150 orphans, 149 MiB") {
		t.Errorf("dry run: exit %d: %s", code, out)
	}
	if out, _, code := ctl(t, host, "gc", "--dry-run", "-o", "json"); code != 0 || strings.Count(out, "uniqueBytes") != 149 {
		t.Errorf("dry run for programs: exit %d: %s", code, out)
	}
	if _, stderr, code := ctl(t, host, "gc"); code != 5 || !strings.Contains(stderr, "--yes") || len(f.sweeps) > 0 {
		t.Errorf("unconfirmed: exit %d: %s, swept %v", code, stderr, f.sweeps)
	}
	out, stderr, code := ctl(t, host, "gc", "--yes")
	if code != 0 || strings.Count(out, " destroyed\n") != 150 || len(slices.Concat(f.sweeps...)) != 150 {
		t.Errorf("exit %d: %s%s", code, out, stderr)
	}
	f.stays = []*clonedv1.OrphanLeft{{Name: "volume c-7", Reason: "busy"}}
	out, stderr, code = ctl(t, host, "gc", "--yes")
	if code != 5 || !strings.Contains(stderr, "volume c-7 stays: busy") || strings.Count(out, " destroyed\n") != 149 {
		t.Errorf("one stays: exit %d: %s%s", code, out, stderr)
	}
}
