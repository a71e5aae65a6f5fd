package docker

import (
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/google/nftables"

	"github.com/cloned-db/cloned/internal/need"
)

func nft(t *testing.T, args ...string) string {
	t.Helper()
	out, err := exec.Command("nft", args...).CombinedOutput()
	if err != nil {
		t.Fatalf("nft %s: %v: %s", strings.Join(args, " "), err, out)
	}
	return string(out)
}

// TestFenceIsMended damages the rules in each way that is to be noticed.
func TestFenceIsMended(t *testing.T) {
	need.Root(t)
	if _, err := exec.LookPath("nft"); err != nil {
		t.Skip("needs nft to damage and to show the rules")
	}
	f := fence{table: "cloned-fencetest", bridge: "cl-fencetest"}
	t.Cleanup(func() {
		if err := f.remove(); err != nil {
			t.Error(err)
		}
		if out := nft(t, "list", "tables"); strings.Contains(out, f.table) {
			t.Errorf("left after remove:\n%s", out)
		}
	})
	whole := func(want bool) {
		t.Helper()
		got, err := f.whole()
		if err != nil || got != want {
			t.Fatalf("whole: %v, %v, want %v\n%s", got, err, want, nft(t, "list", "ruleset"))
		}
	}
	whole(false)
	if err := f.ensure(); err != nil {
		t.Fatal(err)
	}
	whole(true)
	inet := nft(t, "list", "table", "inet", f.table)
	for _, rule := range []string{
		`iifname "cl-fencetest" ct direction reply ct state established,related counter`, `iifname "cl-fencetest" counter`,
		`oifname "cl-fencetest" ct status dnat counter`, `oifname "cl-fencetest" counter`,
	} {
		if !strings.Contains(inet, rule) {
			t.Errorf("no rule %q in\n%s", rule, inet)
		}
	}
	damages := [][]string{
		{"delete", "table", "inet", f.table},
		{"flush", "chain", "inet", f.table, "input"},
		{"insert", "rule", "inet", f.table, "forward", "accept"},
		{"add", "table", "inet", f.table, "{ flags dormant; }"},
	}
	filtered, err := os.ReadFile(bridgedFiltered)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	if bridge, err := f.hasTable(nftables.TableFamilyBridge); err != nil {
		t.Fatal(err)
	} else if !bridge {
		t.Log("this kernel has no nft_meta_bridge")
	} else {
		if out := nft(t, "list", "table", "bridge", f.table); !strings.Contains(out, `meta ibrname "cl-fencetest" counter`) {
			t.Errorf("no rule for neighbours in\n%s", out)
		}
		if strings.TrimSpace(string(filtered)) != "1" { // otherwise the inet table does it, and is whole without
			damages = append(damages, []string{"delete", "table", "bridge", f.table}, []string{"flush", "chain", "bridge", f.table, "forward"})
		}
	}
	for _, damage := range damages {
		nft(t, damage...)
		whole(false)
		if err := f.ensure(); err != nil {
			t.Fatalf("after %s: %v", strings.Join(damage, " "), err)
		}
		whole(true)
	}
	before := nft(t, "-a", "list", "table", "inet", f.table)
	if err := f.ensure(); err != nil {
		t.Fatal(err)
	}
	if after := nft(t, "-a", "list", "table", "inet", f.table); after != before {
		t.Errorf("ensure changed what was whole:\n%s\n%s", before, after)
	}
}

func TestFenceConcernsItsBridge(t *testing.T) {
	for name, want := range map[string]bool{"lo": true, "cl-absent": false} {
		if got, err := (fence{bridge: name}).concerns(); err != nil || got != want {
			t.Errorf("%s: %v, %v", name, got, err)
		}
	}
}

func BenchmarkFenceWhole(b *testing.B) {
	need.Root(b)
	f := fence{table: "cloned-fencetest", bridge: "cl-fencetest"}
	if err := f.ensure(); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		if err := f.remove(); err != nil {
			b.Error(err)
		}
	})
	for b.Loop() {
		if whole, err := f.whole(); err != nil || !whole {
			b.Fatal(whole, err)
		}
	}
}
