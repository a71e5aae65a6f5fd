package daemon

import (
	"os/exec"
	"strings"
	"testing"
)

const module = "github.com/cloned-db/cloned/"

// drivers are the packages that only the wiring may name.
var drivers = []string{"zfs", "storage/btrfs", "storage/dir", "container/docker", "container/process", "database/postgres"}

// TestImports holds the direction in which packages may import each other:
// main → daemon → control → contracts, and drivers import only their contract.
func TestImports(t *testing.T) {
	imports := packages(t)
	if len(imports) < 10 || len(imports["daemon"]) == 0 {
		t.Fatalf("go list shows only %d packages", len(imports))
	}
	// Who may import what of the project, by the longest prefix that fits; what
	// is not mentioned (test, scripts) is free.
	allowed := map[string][]string{
		"errs":              {},
		"errs/grpcstatus":   {"errs"},
		"proto":             {},
		"state":             {"errs", "internal"},
		"storage":           {"errs", "internal"},
		"container":         {"errs", "internal"},
		"database":          {"errs", "internal", "container"},
		"zfs":               {"errs", "internal", "storage"},
		"storage/btrfs":     {"errs", "internal", "storage"},
		"storage/dir":       {"errs", "internal", "storage"},
		"container/docker":  {"errs", "internal", "container"},
		"container/process": {"errs", "internal", "container"},
		"database/postgres": {"errs", "internal", "container", "database"},
		"daemon":            {"errs", "internal", "proto", "state", "storage", "container", "database", "zfs", "daemon/control", "daemon/auth", "daemon/audit"},
		"daemon/audit":      {"errs"},
		"daemon/auth":       {"errs", "internal", "state", "daemon/control"},
		"daemon/control":    {"errs", "internal", "state", "storage", "container", "database"},
		"daemon/cloned":     {"daemon", "errs", "internal", "client"},
		"client":            {"client", "errs", "proto", "internal"},
		"internal":          {"errs", "internal"},
	}
	for pkg, list := range imports {
		may, known := longest(allowed, pkg)
		for _, imported := range list {
			switch {
			case isDriver(imported) && pkg != "daemon" && !within(pkg, imported):
				t.Errorf("%s imports the driver %s: only the daemon's wiring may", pkg, imported)
			case known && !within(pkg, imported) && !covers(may, imported):
				t.Errorf("%s imports %s: it may import only %v", pkg, imported, may)
			}
		}
	}
}

// packages lists the project's packages with those of the project's that they
// import outside of tests, both without the module's path.
func packages(t *testing.T) map[string][]string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "go", "list", "-e", "-f", `{{.ImportPath}} {{join .Imports " "}}`, "./...")
	cmd.Dir = ".."
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	found := map[string][]string{}
	for line := range strings.Lines(string(out)) {
		words := strings.Fields(line)
		pkg := strings.TrimPrefix(words[0], module)
		found[pkg] = nil
		for _, word := range words[1:] {
			if ours, ok := strings.CutPrefix(word, module); ok {
				found[pkg] = append(found[pkg], ours)
			}
		}
	}
	return found
}

// within says that path is dir or lies in it.
func within(path, dir string) bool { return path == dir || strings.HasPrefix(path, dir+"/") }

func isDriver(pkg string) bool { return covers(drivers, pkg) }

func covers(dirs []string, pkg string) bool {
	for _, dir := range dirs {
		if within(pkg, dir) {
			return true
		}
	}
	return false
}

// longest returns the value of the longest key that pkg lies in.
func longest(table map[string][]string, pkg string) (value []string, ok bool) {
	best := ""
	for dir, v := range table {
		if within(pkg, dir) && len(dir) > len(best) {
			best, value, ok = dir, v, true
		}
	}
	return value, ok
}
