package storagetest

import (
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/cloned-db/cloned/storage"
)

// testChangedNames does to files all that can be done to them.
func testChangedNames(t *testing.T, cfg Config) {
	const large, block = 512 << 10, 8 << 10
	d, differ := newDiffer(t, cfg)
	v := create(t, d, "v")
	for _, dir := range []string{"dir/deep", "lost/deep", "moved/deep", "swapped"} {
		if err := os.MkdirAll(filepath.Join(v.Path, dir), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{
		"kept", "written", "appended", "truncated", "emptied", "renamed", "replaced", "removed", "open", "mode", "back",
		"dir/deep/kept", "dir/deep/taken", "lost/file", "lost/deep/file", "moved/file", "moved/deep/written", "moved/deep/left",
		"swapped/a", "swapped/b",
	} {
		if err := os.WriteFile(filepath.Join(v.Path, name), random(t, large), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	snap := snapshot(t, d, storage.Own("v"), "s").Ref
	c := clone(t, d, snap, "c")
	path := func(name string) string { return filepath.Join(c.Path, name) }
	held, err := os.Open(path("open"))
	if err != nil {
		t.Fatal(err)
	}
	defer held.Close()

	writeAt(t, path("written"), random(t, block), 5*block)
	writeAt(t, path("appended"), random(t, block), large)
	writeAt(t, path("created"), random(t, 3*block), 0)
	writeAt(t, path("temporary"), random(t, block), 0)
	writeAt(t, path("passing"), random(t, block), 0)
	writeAt(t, path("renamed"), random(t, block), 0)
	for _, err := range []error{
		os.Truncate(path("truncated"), 3*block),
		os.Truncate(path("emptied"), 0),
		os.Rename(path("renamed"), path("dir/renamed")),
		os.Rename(path("temporary"), path("replaced")),
		os.Rename(path("dir/deep/taken"), path("taken")),
		os.Remove(path("removed")),
		os.Remove(path("passing")),
		os.Remove(path("open")),
		os.Chmod(path("mode"), 0o640),
		os.Rename(path("back"), path("forth")),
		os.Rename(path("forth"), path("back")),
		os.RemoveAll(path("lost")),
		os.Mkdir(path("new"), 0o700),
		os.Rename(path("moved"), path("new/place")),
		os.Remove(path("new/place/deep/left")),
		os.Rename(path("swapped/a"), path("swapped/c")),
		os.Rename(path("swapped/b"), path("swapped/a")),
		os.Rename(path("swapped/c"), path("swapped/b")),
		os.Symlink("kept", path("symlink")),
		syscall.Mkfifo(path("pipe"), 0o600),
		os.Mkdir(path("empty"), 0o700),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	writeAt(t, path("new/place/deep/written"), random(t, block), 0)
	writeAt(t, path("new/file"), random(t, block), 0)

	removed := change{removed: true}
	wantChanged(t, differ, snap, "c", map[string]change{
		"written":                {written: block, size: large},
		"appended":               {written: block, size: large + block},
		"created":                {created: true, written: 3 * block, size: 3 * block},
		"truncated":              {size: 3 * block},
		"emptied":                {},
		"renamed":                removed,
		"dir/renamed":            {created: true, written: block, size: large},
		"replaced":               {written: block, size: block},
		"dir/deep/taken":         removed,
		"taken":                  {created: true, size: large},
		"removed":                removed,
		"open":                   removed,
		"mode":                   {size: large},
		"back":                   {size: large},
		"lost/file":              removed,
		"lost/deep/file":         removed,
		"moved/file":             removed,
		"moved/deep/written":     removed,
		"moved/deep/left":        removed,
		"new/place/file":         {created: true, size: large},
		"new/place/deep/written": {created: true, written: block, size: large},
		"new/file":               {created: true, written: block, size: block},
		"swapped/a":              {size: large},
		"swapped/b":              {size: large},
		"symlink":                {created: true, size: int64(len("kept"))},
		"pipe":                   {created: true},
	})
}

// testChangedPlaces puts directories, files and links in each other's place.
func testChangedPlaces(t *testing.T, cfg Config) {
	d, differ := newDiffer(t, cfg)
	v := create(t, d, "v")
	for _, dir := range []string{"left/deep", "right", "became", "aside", "linked"} {
		if err := os.MkdirAll(filepath.Join(v.Path, dir), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"left/l", "left/deep/l", "left/both", "right/r", "right/both", "becomes", "became/file", "aside/file", "linked/file", "one"} {
		write(t, v.Path, name, "1")
	}
	snap := snapshot(t, d, storage.Own("v"), "s").Ref
	c := clone(t, d, snap, "c")
	path := func(name string) string { return filepath.Join(c.Path, name) }
	for _, err := range []error{
		os.Rename(path("left"), path("middle")),
		os.Rename(path("right"), path("left")),
		os.Rename(path("middle"), path("right")),
		os.Remove(path("becomes")),
		os.Mkdir(path("becomes"), 0o700),
		os.RemoveAll(path("became")),
		os.Rename(path("aside"), path("elsewhere")),
		os.Symlink("elsewhere", path("aside")),
		os.Link(path("one"), path("other")),
		os.Remove(path("one")),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	write(t, c.Path, "becomes/file", "1")
	write(t, c.Path, "became", "1")
	removed, came, made := change{removed: true}, change{created: true, size: 1}, change{created: true, written: 1, size: 1}
	wantChanged(t, differ, snap, "c", map[string]change{
		"left/l": removed, "left/deep/l": removed, "left/r": came, "left/both": {size: 1},
		"right/r": removed, "right/l": came, "right/deep/l": came, "right/both": {size: 1},
		"becomes": removed, "becomes/file": made,
		"became/file": removed, "became": made,
		"aside/file": removed, "elsewhere/file": came, "aside": {created: true, size: int64(len("elsewhere"))},
		"one": removed, "other": came,
	})

	if err := os.Link(path("linked/file"), path("another")); err != nil {
		t.Fatal(err)
	}
	writeAt(t, path("linked/file"), []byte("22"), 0)
	got, err := differ.Changed(t.Context(), snap, "c")
	if err != nil {
		t.Fatal(err)
	}
	var bytes int64
	for _, c := range got {
		if c.Path == "linked/file" || c.Path == "another" {
			bytes += c.Bytes
		}
	}
	if bytes < 2 {
		t.Errorf("a file with two names is not listed under any of them: %+v", got)
	}
}

// testChangedOddNames: whatever a name consists of, it comes out as it went in.
func testChangedOddNames(t *testing.T, cfg Config) {
	d, differ := newDiffer(t, cfg)
	v := create(t, d, "v")
	names := []string{
		"blank blank", " ", "tab\ttab", "line\nline", `back\slash`, `\0040`, `\`, "quote'\"", "-> x", "é", "\xff\xfe", "\x01\x7f", "#1", "%s",
		"(+1)", "(on_delete_queue)", "trailing ", "...", "-rf", "dir with\nbreak/file with\ttab",
	}
	if err := os.Mkdir(filepath.Join(v.Path, "dir with\nbreak"), 0o700); err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		write(t, v.Path, name, "1")
		write(t, v.Path, name+"-moves", "1")
		write(t, v.Path, name+"-goes", "1")
	}
	snap := snapshot(t, d, storage.Own("v"), "s").Ref
	c := clone(t, d, snap, "c")
	want := map[string]change{}
	for _, name := range names {
		write(t, c.Path, name, "22")
		write(t, c.Path, name+"-comes", "333")
		if err := os.Rename(filepath.Join(c.Path, name+"-moves"), filepath.Join(c.Path, name+"-moved")); err != nil {
			t.Fatal(err)
		}
		if err := os.Remove(filepath.Join(c.Path, name+"-goes")); err != nil {
			t.Fatal(err)
		}
		want[name] = change{written: 2, size: 2}
		want[name+"-comes"] = change{created: true, written: 3, size: 3}
		want[name+"-moves"] = change{removed: true}
		want[name+"-moved"] = change{created: true, size: 1}
		want[name+"-goes"] = change{removed: true}
	}
	wantChanged(t, differ, snap, "c", want)
}
