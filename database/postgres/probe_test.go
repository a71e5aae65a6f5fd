package postgres

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/cloned-db/cloned/container"
	"github.com/cloned-db/cloned/database"
	"github.com/cloned-db/cloned/errs"
	"github.com/cloned-db/cloned/internal/need"
)

// TestProbeBadDirectory: every kind of directory that can't be a source is told
// as what it is, by Probe and by Fill, and says what to do.
func TestProbeBadDirectory(t *testing.T) {
	good := newSource(t)
	w := processWorld(t)
	edit := func(path, content string) func(t *testing.T, dir string) {
		return func(t *testing.T, dir string) {
			if err := os.WriteFile(filepath.Join(dir, path), []byte(content), 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	link := func(target, path string) func(t *testing.T, dir string) {
		return func(t *testing.T, dir string) {
			path := filepath.Join(dir, path)
			if err := os.RemoveAll(path); err != nil {
				t.Fatal(err)
			}
			if err := os.Symlink(target, path); err != nil {
				t.Fatal(err)
			}
		}
	}
	for name, c := range map[string]struct {
		spoil func(t *testing.T, dir string)
		kind  errs.Kind
		words []string
	}{
		"missing":        {func(t *testing.T, dir string) { run(t, "rm", "-r", dir) }, errs.Invalid, []string{"no such directory", database.ReasonNotADataDirectory}},
		"a file":         {func(t *testing.T, dir string) { run(t, "rm", "-r", dir); edit("", "x")(t, dir) }, errs.Invalid, []string{"not a directory"}},
		"empty":          {func(t *testing.T, dir string) { run(t, "sh", "-c", `rm -r "$1"/*`, "sh", dir) }, errs.Invalid, []string{"empty"}},
		"other":          {func(t *testing.T, dir string) { run(t, "rm", dir+"/PG_VERSION") }, errs.Invalid, []string{"PG_VERSION"}},
		"old":            {edit("PG_VERSION", "9.6\n"), errs.Precondition, []string{"9.6", "12 to 18", database.ReasonVersion}},
		"future":         {edit("PG_VERSION", "99\n"), errs.Precondition, []string{"99", database.ReasonVersion}},
		"nonsense":       {edit("PG_VERSION", "\x00\xff"), errs.Corrupt, []string{"PG_VERSION"}},
		"a huge version": {edit("PG_VERSION", strings.Repeat("1", 100)), errs.Precondition, []string{"larger"}},
		"no control":     {func(t *testing.T, dir string) { run(t, "rm", dir+"/global/pg_control") }, errs.Corrupt, []string{"pg_control"}},
		"zeroed control": {edit("global/pg_control", string(make([]byte, controlSize))), errs.Corrupt, []string{"pg_control"}},
		"short control":  {edit("global/pg_control", "1234567890123456"), errs.Corrupt, []string{"pg_control"}},
		"bad control": {func(t *testing.T, dir string) {
			f, err := os.OpenFile(filepath.Join(dir, "global/pg_control"), os.O_RDWR, 0)
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			if _, err := f.WriteAt([]byte{0xff}, 100); err != nil {
				t.Fatal(err)
			}
		}, errs.Corrupt, []string{"checksum", "copy it again"}},
		"no log":             {func(t *testing.T, dir string) { run(t, "sh", "-c", `rm "$1"/pg_wal/0*`, "sh", dir) }, errs.Corrupt, []string{"write-ahead log"}},
		"log elsewhere":      {link("/var/lib/wal", "pg_wal"), errs.Precondition, []string{`pg_wal -> /var/lib/wal`, database.ReasonLinksOutside}},
		"tablespace":         {link("/srv/fast", "pg_tblspc/16400"), errs.Precondition, []string{`pg_tblspc/16400 -> /srv/fast`, "base backup"}},
		"a way up":           {link("../../x", "base/x"), errs.Precondition, []string{`base/x -> ../../x`}},
		"a way up by a link": {func(t *testing.T, dir string) { link(".", "here")(t, dir); link("here/../../x", "there")(t, dir) }, errs.Precondition, []string{"there"}},
		"settings elsewhere": {link("/etc/shadow", "postgresql.conf"), errs.Precondition, []string{"/etc/shadow"}},
		"a backup's map":     {edit("tablespace_map", "16400 /srv/fast\n"), errs.Precondition, []string{"/srv/fast"}},
		"a pipe": {func(t *testing.T, dir string) {
			if err := unix.Mkfifo(dir+"/base/pipe", 0o600); err != nil {
				t.Fatal(err)
			}
		}, errs.Precondition, []string{"base/pipe"}},
		"a pipe for settings": {func(t *testing.T, dir string) {
			run(t, "rm", dir+"/PG_VERSION")
			if err := unix.Mkfifo(dir+"/PG_VERSION", 0o600); err != nil {
				t.Fatal(err)
			}
		}, errs.Precondition, []string{"regular"}},
		"very deep": {func(t *testing.T, dir string) {
			if err := os.MkdirAll(filepath.Join(dir, strings.Repeat("d/", 40)), 0o700); err != nil {
				t.Fatal(err)
			}
		}, errs.Precondition, []string{"deep"}},
	} {
		t.Run(name, func(t *testing.T) {
			dir := filepath.Join(tempDir(t), "data")
			run(t, "cp", "-a", good.dir, dir)
			c.spoil(t, dir)
			src := database.Source{Kind: database.SourceDirectory, Directory: dir}
			_, _, err := w.engine.Probe(t.Context(), src)
			want(t, err, c.kind, append(c.words, fieldDirectory, dir)...)
			v := w.newVolume()
			err = w.engine.Fill(t.Context(), w.rt, database.FillRequest{Volume: v, Source: src, Progress: w.log})
			want(t, err, c.kind, append(c.words, fieldDirectory, dir)...)
			if left, err := os.ReadDir(v.Path); err != nil || len(left) > 0 {
				t.Errorf("left in the volume: %v, %v", left, err)
			}
		})
	}
	t.Run("not readable", func(t *testing.T) {
		need.Root(t)
		dir := filepath.Join(tempDir(t), "data")
		run(t, "cp", "-a", good.dir, dir)
		run(t, "chown", "-R", "root:root", dir)
		asUser(t, credential(t, "nobody"), func() {
			_, _, err := w.engine.Probe(t.Context(), database.Source{Kind: database.SourceDirectory, Directory: dir})
			want(t, err, errs.Denied, fieldDirectory, "run the daemon as")
		})
	})
	t.Run("running", func(t *testing.T) {
		good.start()
		_, _, err := w.engine.Probe(t.Context(), good.directory())
		want(t, err, errs.Precondition, fieldDirectory, "stop it", database.ReasonRunning)
		err = w.engine.Fill(t.Context(), w.rt, database.FillRequest{Volume: w.newVolume(), Source: good.directory(), Progress: w.log})
		want(t, err, errs.Precondition, database.ReasonRunning)
		if _, err := w.engine.Inspect(t.Context(), filepath.Dir(good.dir), "data"); err != nil {
			t.Errorf("what runs can be looked at: %v", err)
		}
	})
	t.Run("started meanwhile", func(t *testing.T) {
		good.stop()
		once := false
		err := w.engine.Fill(t.Context(), w.rt, database.FillRequest{Volume: w.newVolume(), Source: good.directory(), Progress: func(database.Progress) {
			if !once {
				once = true
				good.start()
				good.stop()
			}
		}})
		want(t, err, errs.Conflict, "while it was copied")
	})
	t.Run("outside", func(t *testing.T) {
		_, err := w.engine.Inspect(t.Context(), filepath.Dir(good.dir), "../etc")
		want(t, err, errs.Invalid, "data_dir")
		_, err = w.engine.Inspect(t.Context(), filepath.Dir(good.dir), "nothing")
		want(t, err, errs.Invalid, database.ReasonNotADataDirectory)
	})
}

// asUser runs f with the rights of another user, on a thread that then ends.
func asUser(t *testing.T, c *syscall.Credential, f func()) {
	t.Helper()
	if _, _, e := syscall.RawSyscall(syscall.SYS_SETRESUID, ^uintptr(0), uintptr(c.Uid), ^uintptr(0)); e != 0 {
		t.Fatal(e)
	}
	defer func() {
		if _, _, e := syscall.RawSyscall(syscall.SYS_SETRESUID, ^uintptr(0), 0, ^uintptr(0)); e != 0 {
			t.Error(e)
		}
	}()
	f()
}

// TestOwner: a copy belongs to whom its source did, but never to root, as whom
// no server runs.
func TestOwner(t *testing.T) {
	need.Root(t)
	s := newSource(t)
	w := processWorld(t)
	if err := os.Chmod(s.dir, 0o755); err != nil { // servers refuse that, too
		t.Fatal(err)
	}
	for _, owner := range []string{"daemon", "root"} {
		run(t, "chown", "-R", owner, s.dir)
		v, facts, prepared := w.golden(s.directory(), nil)
		wantUser := w.rt.DefaultUser()
		if owner != "root" {
			wantUser = container.User{UID: int(credential(t, owner).Uid), GID: int(s.user.Gid)}
		}
		if facts.Owner != wantUser {
			t.Errorf("%v owns the copy of what was %s's, not %v", facts.Owner, owner, wantUser)
		}
		w.clone(v, facts, prepared, nil).checkLog()
	}
}

func TestWithoutSettings(t *testing.T) {
	s := newSource(t)
	for _, name := range []string{confFile, autoFile, hbaFile, identFile} {
		if err := os.Remove(filepath.Join(s.dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	w := processWorld(t)
	v, facts, prepared := w.golden(s.directory(), func(r *database.PrepareRequest) {
		r.Settings = map[string]string{"work_mem": "7MB"}
	})
	if !facts.CleanShutdown || !strings.Contains(strings.Join(facts.Warnings, "\n"), "/etc") {
		t.Errorf("%+v", facts)
	}
	c := w.clone(v, facts, prepared, func(r *database.StartRequest) {
		r.Settings, r.Durable = map[string]string{"work_mem": "7MB", "shared_buffers": "16MB"}, true
	})
	for name, want := range map[string]string{"work_mem": "7MB", "shared_buffers": "16MB", "fsync": "on", "full_page_writes": "on"} {
		if rows := c.sql("SHOW " + name); rows[0][0] != want {
			t.Errorf("%s is %s", name, rows[0][0])
		}
	}
	c.checkLog()
}

// TestBadSettings: a setting of the golden that the server does not take is an
// error about that setting.
func TestBadSettings(t *testing.T) {
	s := newSource(t)
	w := processWorld(t)
	for name, value := range map[string]string{"no_such_setting": "1", "work_mem": "much", preload: "no_such_library"} {
		v := w.newVolume()
		if err := w.engine.Fill(t.Context(), w.rt, database.FillRequest{Volume: v, Source: s.directory(), Progress: w.log}); err != nil {
			t.Fatal(err)
		}
		facts, err := w.engine.Inspect(t.Context(), v.Path, v.DataDir)
		if err != nil {
			t.Fatal(err)
		}
		_, err = w.engine.Prepare(t.Context(), w.rt, database.PrepareRequest{Volume: v, Facts: facts, Progress: w.log, Settings: map[string]string{name: value}})
		want(t, err, errs.Invalid, "settings."+name)
	}
}

// TestMissingLocale: a database that the image can't serve is an error that says
// so, before anybody gets a clone.
func TestMissingLocale(t *testing.T) {
	s := newSource(t)
	s.start()
	s.sql("postgres", "CREATE DATABASE shop", "UPDATE pg_database SET datcollate = 'xx_XX', datctype = 'xx_XX' WHERE datname = 'shop'")
	s.stop()
	w := processWorld(t)
	v := w.newVolume()
	if err := w.engine.Fill(t.Context(), w.rt, database.FillRequest{Volume: v, Source: s.directory(), Progress: w.log}); err != nil {
		t.Fatal(err)
	}
	facts, err := w.engine.Inspect(t.Context(), v.Path, v.DataDir)
	if err != nil {
		t.Fatal(err)
	}
	_, err = w.engine.Prepare(t.Context(), w.rt, database.PrepareRequest{Volume: v, Facts: facts, Progress: w.log})
	want(t, err, errs.Precondition, `"shop"`, "xx_XX", "choose an image")
}

// TestDamaged: a directory that looks well and is not.
func TestDamaged(t *testing.T) {
	s := newSource(t)
	found, err := filepath.Glob(s.dir + "/pg_wal/0*")
	if err != nil || len(found) == 0 {
		t.Fatal(found, err)
	}
	if err := os.WriteFile(found[0], bytes.Repeat([]byte{1}, 16<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	w := processWorld(t)
	v := w.newVolume()
	if err := w.engine.Fill(t.Context(), w.rt, database.FillRequest{Volume: v, Source: s.directory(), Progress: w.log}); err != nil {
		t.Fatal(err)
	}
	facts, err := w.engine.Inspect(t.Context(), v.Path, v.DataDir)
	if err != nil {
		t.Fatal(err)
	}
	_, err = w.engine.Prepare(t.Context(), w.rt, database.PrepareRequest{Volume: v, Facts: facts, Progress: w.log})
	want(t, err, errs.Corrupt, "checkpoint")
	if len(errs.As(err).Log) == 0 {
		t.Error("no log")
	}
}

func TestCheckImage(t *testing.T) {
	eachRuntime(t, func(t *testing.T, w *world) {
		if err := w.engine.CheckImage(t.Context(), w.rt, "t-version", w.image, major(t)); err != nil {
			t.Error(err)
		}
		want(t, w.engine.CheckImage(t.Context(), w.rt, "t-version", w.image, 18), errs.Precondition, "needs 18", "--image")
	})
}
