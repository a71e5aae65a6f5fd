package zfs

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/cloned-db/cloned/errs"
	"github.com/cloned-db/cloned/internal/command"
	"github.com/cloned-db/cloned/storage"
)

// fakeVolume is one that exists by the programs of fakeTools: below "/", where the
// parent is mounted, another filesystem is mounted at its name.
const fakeVolume = "proc"

// fakeTools is zfs and zpool as far as the driver asks them. They answer honestly,
// but for the command of which the number is in the file "when", or all for
// "always": to that they do what is in the file "how".
const fakeTools = `#!/bin/sh
cd %s || exit 9
n=$(($(cat n) + 1)); echo $n >n
when=$(cat when)
[ $when = always ] || [ $n = $when ] && how=$(cat how) || how=honest

rows() { # name, then property, value and source of each row
	name=$1; shift
	for row; do printf '%%s\t%%s\n' "$name" "$row"; done
}
t=$(printf '\t')
volume() {
	rows tank/cloned/proc "cloned:instance${t}i-1${t}local" "cloned:created${t}2026-01-02T03:04:05Z${t}local" "origin${t}-${t}-" "mounted${t}yes${t}-" "$@"
}
answer() {
	case "$*" in
	*' load_guid tank') echo 1234 ;;
	*' value guid tank/cloned') echo 5678 ;;
	*' type,guid,mountpoint,canmount,mounted tank/cloned')
		rows tank/cloned "type${t}filesystem${t}-" "guid${t}5678${t}-" "mountpoint${t}/${t}local" "canmount${t}on${t}default" "mounted${t}yes${t}-" ;;
	*'-t filesystem,snapshot -d 2 '*)
		rows tank/cloned "cloned:instance${t}-${t}-" "cloned:created${t}-${t}-" "origin${t}-${t}-" "mounted${t}yes${t}-"
		volume
		rows tank/cloned/proc@cloned-i-1-ready "cloned:instance${t}i-1${t}local" "cloned:created${t}2026-01-02T03:04:05Z${t}local" "origin${t}-${t}-" "mounted${t}-${t}-" ;;
	*'-t filesystem,snapshot -d 1 '*' tank/replica')
		rows tank/replica "cloned:instance${t}-${t}-" "cloned:created${t}-${t}-" "origin${t}-${t}-" "mounted${t}yes${t}-"
		rows tank/replica@cloned-i-1-f-1 "cloned:instance${t}i-1${t}local" "cloned:created${t}2026-01-02T03:04:05Z${t}local" "origin${t}-${t}-" "mounted${t}-${t}-" ;;
	*' available,used tank/cloned') rows tank/cloned "available${t}1000${t}-" "used${t}1${t}-" ;;
	*'written,logicalreferenced tank/cloned/proc') volume "written${t}1${t}-" "logicalreferenced${t}2${t}-" ;;
	'destroy tank/cloned/proc') echo destroyed >>destroyed ;;
	*'list -'*) printf 'tank\t1\t1\t1\t1\t0%%%%\t1.00x\tONLINE\t-\n' ;;
	*) echo "cannot open '$(eval echo \${$#})': dataset does not exist" >&2; exit 1 ;;
	esac
}
case $how in
honest) answer "$@" ;;
hang) exec sleep 1000 ;;
fail) echo "cannot iterate filesystems: I/O error" >&2; exit 1 ;;
unknown) echo "the moon is in the wrong phase" >&2; exit 1 ;;
mute) exit 1 ;;
killed) (answer "$@"); kill -9 $$ ;;
complains) (answer "$@"); echo "cannot iterate filesystems: I/O error" >&2 ;;
nothing) exit 0 ;;
lines) echo; echo; echo; echo; echo ;;
nonsense) head -c 300 /dev/urandom ;;
another) answer "$@" | sed 's/tank/tink/g; s/[0-9]/9/g' ;;
half) answer "$@" >half; head -c $(($(wc -c <half) / 2)) half ;;
esac
`

// fake puts fakeTools on the PATH and opens a driver on them.
func fake(t *testing.T) (d *Driver, dir string) {
	t.Helper()
	dir = t.TempDir()
	for _, name := range []string{"zfs", "zpool"} {
		if err := os.WriteFile(filepath.Join(dir, name), fmt.Appendf(nil, fakeTools, dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	t.Setenv("PATH", dir+":"+os.Getenv("PATH"))
	misbehave(t, dir, "never", "honest")
	d, err := Open(t.Context(), Config{Parent: "tank/cloned", Instance: "i-1", Run: &command.Runner{Limit: time.Minute}})
	if err != nil {
		t.Fatal(err)
	}
	return d, dir
}

// misbehave says which command from now on is answered how.
func misbehave(t *testing.T, dir, when, how string) {
	t.Helper()
	for name, content := range map[string]string{"n": "0", "when": when, "how": how} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// look calls everything that is concluded from, and returns what is wrong with
// the outcome: something missing, or gone, without an error.
func look(ctx context.Context, d *Driver) map[string]func() (wrong string, err error) {
	gone := func(err error) string {
		if errs.Is(err, errs.NotFound) {
			return "the volume counts as gone"
		}
		return ""
	}
	return map[string]func() (string, error){
		"List": func() (string, error) {
			inv, err := d.List(ctx, []string{"tank/replica"})
			if err == nil && (len(inv.Volumes) != 1 || len(inv.Snapshots) != 2) {
				return fmt.Sprintf("it lists %+v", inv), nil
			}
			return gone(err), err
		},
		"Stat": func() (string, error) {
			v, err := d.Stat(ctx, fakeVolume)
			if err == nil && (v.ID != fakeVolume || v.Path != "/proc") {
				return fmt.Sprintf("it is %+v", v), nil
			}
			return gone(err), err
		},
		"Usage": func() (string, error) {
			u, err := d.Usage(ctx, fakeVolume)
			if err == nil && u != (storage.Usage{Unique: 1, Logical: 2}) {
				return fmt.Sprintf("it takes %+v", u), nil
			}
			return gone(err), err
		},
		"Space": func() (string, error) {
			s, err := d.Space(ctx)
			if err == nil && s != (storage.Space{Total: 1001, Free: 1000}) {
				return fmt.Sprintf("there is %+v", s), nil
			}
			return "", err
		},
	}
}

// TestZFSMisbehaves has each command that an operation runs fail, die, complain,
// answer nothing, half, something else or nonsense: then nothing is listed in
// part, nothing counts as gone, and nothing is destroyed.
func TestZFSMisbehaves(t *testing.T) {
	d, dir := fake(t)
	for _, how := range []string{"fail", "unknown", "mute", "killed", "complains", "nothing", "lines", "nonsense", "another", "half"} {
		for what, call := range look(t.Context(), d) {
			for _, when := range []string{"1", "2", "3", "4", "always"} {
				misbehave(t, dir, when, how)
				wrong, err := call()
				if wrong != "" {
					t.Errorf("%s, command %s %s: %s: %v", what, when, how, wrong, err)
				}
				if err == nil && (when == "1" || when == "always") {
					t.Errorf("%s, command %s %s: no error", what, when, how)
				}
				if err != nil && !errs.Is(err, errs.Unavailable) && !errs.Is(err, errs.Internal) {
					t.Errorf("%s, command %s %s: %v", what, when, how, err)
				}
				if how == "unknown" && err != nil && errs.As(err).Reason != reasonFailed {
					t.Errorf("%s: what nobody knows is taken for %v", what, err)
				}
			}
		}
		// What is honestly not there does not become certain by a fence that lies.
		for _, when := range []string{"1", "2", "3", "always"} {
			if (how == "killed" || how == "complains") && when == "1" {
				continue // it did say that it is not there
			}
			misbehave(t, dir, when, how)
			if _, err := d.Stat(t.Context(), "absent"); !errs.Is(err, errs.Unavailable) && !errs.Is(err, errs.Internal) {
				t.Errorf("an absent volume, command %s %s: %v", when, how, err)
			}
		}
		misbehave(t, dir, "1", how) // the look before it is destroyed
		if err := d.Destroy(t.Context(), fakeVolume); err == nil {
			t.Errorf("destroyed, after %s", how)
		}
		misbehave(t, dir, "never", "honest")
		if _, err := d.List(t.Context(), nil); err != nil { // what was learned of a lie is put right
			if _, err := d.List(t.Context(), nil); err != nil {
				t.Errorf("after %s: %v", how, err)
			}
		}
	}
	if _, err := os.Stat(filepath.Join(dir, "destroyed")); err == nil {
		t.Error("a volume was destroyed")
	}
	if _, err := d.Stat(t.Context(), "absent"); !errs.Is(err, errs.NotFound) {
		t.Errorf("an absent volume, told honestly: %v", err)
	}
	if err := d.Destroy(t.Context(), fakeVolume); err != nil {
		t.Errorf("honestly: %v", err)
	}
	if _, err := os.Stat(filepath.Join(dir, "destroyed")); err != nil {
		t.Error("the fake destroys nothing: it proves nothing")
	}
}

// TestZFSHangs: a command that never ends holds a call no longer than its context,
// or, without a deadline there, than a command may take.
func TestZFSHangs(t *testing.T) {
	d, dir := fake(t)
	misbehave(t, dir, "always", "hang")
	const soon = 100 * time.Millisecond
	calls := look(t.Context(), d)
	calls["Health"] = func() (string, error) { _, err := d.Health(t.Context()); return "", err }
	calls["Destroy"] = func() (string, error) { return "", d.Destroy(t.Context(), fakeVolume) }
	calls["Clone"] = func() (string, error) {
		_, err := d.Clone(t.Context(), storage.SnapshotRef{Source: storage.Own(fakeVolume), ID: "ready"}, "c-1")
		return "", err
	}
	calls["Open"] = func() (string, error) {
		_, err := Open(t.Context(), Config{Parent: "tank/cloned", Instance: "i-1", Run: d.runner})
		return "", err
	}
	d.runner.Limit = soon
	for what, call := range calls {
		begin := time.Now()
		wrong, err := call()
		if wrong != "" || !errs.Is(err, errs.Unavailable) || !errs.As(err).Retryable {
			t.Errorf("%s: %s %v", what, wrong, err)
		}
		if took := time.Since(begin); took > soon+10*time.Second {
			t.Errorf("%s held on for %v", what, took)
		}
	}
	d.runner.Limit = time.Hour
	ctx, cancel := context.WithTimeout(t.Context(), soon)
	defer cancel()
	if _, err := d.List(ctx, nil); !errs.Is(err, errs.Unavailable) || !strings.Contains(err.Error(), "in time") {
		t.Errorf("a context that ends: %v", err)
	}
}
