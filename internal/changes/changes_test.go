package changes

import (
	"fmt"
	"slices"
	"testing"
)

func TestSet(t *testing.T) {
	var first, second Set
	first.Was("gone")
	first.Is("came")
	first.Was("written")
	first.Is("written")
	first.Was("gone, came again")
	first.Is("passing")
	first.Is("came, written")
	second.Is("gone, came again")
	second.Was("passing")
	second.Was("came, written")
	second.Is("came, written")
	second.Was("later")
	first.Then(second)
	var got []string
	err := first.Each(func(path string, was, is bool) error {
		got = append(got, fmt.Sprint(path, ": ", was, is))
		return nil
	})
	want := []string{
		"came: false true", "came, written: false true", "gone: true false", "gone, came again: true true",
		"later: true false", "written: true true",
	}
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("got %q, %v", got, err)
	}
}
