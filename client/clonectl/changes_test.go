package main

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/cloned-db/cloned/errs"
	clonedv1 "github.com/cloned-db/cloned/proto/cloned/v1"
)

func TestChanges(t *testing.T) {
	f, host := serve(t)
	f.put("dev")
	f.changes = []*clonedv1.RelationChange{
		{Database: "shop", Name: "public.orders", Kind: "table", WrittenBytes: 3 << 20, SizeBytes: 1 << 30},
		{Kind: "log", WrittenBytes: 2 << 20, SizeBytes: 16 << 20},
		{Database: "shop", Name: "public.notes", Kind: "toast", WrittenBytes: 512 << 10, SizeBytes: 512 << 10, Created: true},
		{Database: "shop", Name: "pg_catalog.pg_class", Kind: "catalog", WrittenBytes: 8 << 10, SizeBytes: 64 << 10},
		{Name: "pg_catalog.pg_database", Kind: "catalog"},
		{Database: "shop", Name: "public.a\n\x1b[2J", Kind: "table"},
		{Database: "shop", Kind: "dropped", Removed: true},
		{Kind: "other", WrittenBytes: 4096, SizeBytes: 4096},
	}
	shown := []string{
		"WRITTEN SIZE KIND DATABASE NAME",
		"3.0 MiB 1.0 GiB table shop public.orders",
		"512 KiB 512 KiB toast shop public.notes new",
		"0 B 0 B table shop public.a\ufffd\ufffd[2J",
	}
	few := append(shown, "5.5 MiB in all since snap1, 2.0 MiB of it catalogs, logs and other files")
	all := []string{
		shown[0], shown[1],
		"2.0 MiB 16 MiB log - -",
		shown[2],
		"8.0 KiB 64 KiB catalog shop pg_catalog.pg_class",
		"0 B 0 B catalog - pg_catalog.pg_database",
		shown[3],
		"0 B 0 B dropped shop - gone",
		"4.0 KiB 4.0 KiB other - -",
		"5.5 MiB in all since v1",
	}
	for args, want := range map[string][]string{"changes dev": few, "changes dev --since v1 --all": all} {
		out, errOut, code := ctl(t, host, strings.Fields(args)...)
		var lines []string
		for line := range strings.Lines(out) {
			lines = append(lines, strings.Join(strings.Fields(line), " "))
		}
		if got, want := strings.Join(lines, "\n"), strings.Join(want, "\n"); code != 0 || got != want {
			t.Errorf("%s: exit %d: %s\n%s\nwant:\n%s", args, code, errOut, got, want)
		}
	}

	// Programs get all of it.
	var d struct {
		Since     string
		Relations []struct {
			Name, Kind              string
			WrittenBytes, SizeBytes json.Number
			Created                 bool
		}
	}
	out, errOut, code := ctl(t, host, "changes", "dev", "--since", "v1", "-o", "json")
	if err := json.Unmarshal([]byte(out), &d); err != nil || code != 0 || d.Since != "v1" || len(d.Relations) != len(f.changes) {
		t.Fatalf("as JSON: exit %d, %v: %s%s", code, err, out, errOut)
	}
	if r := d.Relations[2]; r.Name != "public.notes" || r.Kind != "toast" || r.WrittenBytes != "524288" || r.SizeBytes != "524288" || !r.Created {
		t.Errorf("as JSON: %+v", r)
	}

	f.changes = nil
	if out, _, code := ctl(t, host, "changes", "dev"); code != 0 || !strings.Contains(out, "0 B in all since snap1") {
		t.Errorf("of none: exit %d: %s", code, out)
	}
}

func TestChangesRefused(t *testing.T) {
	f, host := serve(t)
	f.put("dev")
	refused := func(want int, word string, args ...string) {
		t.Helper()
		if out, errOut, code := ctl(t, host, append([]string{"changes"}, args...)...); code != want || out != "" || !strings.Contains(errOut, word) {
			t.Errorf("changes %v: exit %d: %s%s", args, code, out, errOut)
		}
	}
	refused(3, "nobody", "nobody")
	refused(2, "at most 1", "dev", "other")
	refused(2, "yaml", "dev", "-o", "yaml")
	f.fail = errs.New(errs.Precondition, "NOT_SUPPORTED", "storage dir does not know what changed").WithHint("keep clones on ZFS or btrfs")
	refused(5, "keep clones on ZFS", "dev")
	f.fail = errs.New(errs.Unavailable, "INSTANCE", "no answer")
	refused(8, "no answer", "dev", "-o", "json")
}
