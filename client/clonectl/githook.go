package main

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/cloned-db/cloned/errs"
)

// hookMark is in each hook of ours.
const hookMark = "# cloned: installed by clonectl git enable, removed by clonectl git disable"

// hookScript is the post-checkout hook: first the one that was there before, as
// Git would run it, then ours, whose end changes nothing for Git.
func hookScript(clonectl string) []byte {
	return []byte(`#!/bin/sh
` + hookMark + `
status=0
before="$0.before-cloned"
if [ -x "$before" ]; then
	"$before" "$@" || status=$?
fi
clonectl=` + shellQuote(clonectl) + `
if ! [ -x "$clonectl" ] && ! clonectl=$(command -v clonectl); then
	echo "cloned: clonectl is not installed any more, so this branch gets no database" >&2
	exit "$status"
fi
"$clonectl" git hook "$@" || :
exit "$status"
`)
}

// installHook puts the hook in place and keeps the one that was there. changed is
// false if it was in place.
func installHook(path, clonectl string) (changed bool, err error) {
	want := hookScript(clonectl)
	have, err := os.ReadFile(path)
	switch {
	case err == nil && bytes.Equal(have, want):
		return false, nil
	case err == nil && isOurs(have): // of another place of clonectl
	case exists(path):
		if exists(path + ".before-cloned") {
			return false, errs.New(errs.Precondition, "HOOK_KEPT", "%s and %[1]s.before-cloned are both there, and the first is not ours", path).
				WithHint("remove the one that is not wanted")
		}
		if err := os.Rename(path, path+".before-cloned"); err != nil {
			return false, errHook(err)
		}
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return false, errHook(err)
	}
	if err := replaceFile(path, want, 0o755); err != nil {
		return false, errHook(err)
	}
	return true, nil
}

// removeHook takes the hook away and brings back the one that was there. changed
// is false if there is none of ours.
func removeHook(path string) (changed bool, err error) {
	have, err := os.ReadFile(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return false, nil
	case err != nil:
		return false, errHook(err)
	case !isOurs(have):
		return false, nil
	}
	if exists(path + ".before-cloned") {
		err = os.Rename(path+".before-cloned", path)
	} else {
		err = os.Remove(path)
	}
	if err != nil {
		return false, errHook(err)
	}
	return true, nil
}

func isOurs(hook []byte) bool { return bytes.Contains(hook, []byte(hookMark)) }

func errHook(err error) error { return errs.New(errs.Precondition, "HOOK", "the hook: %w", err) }
