package daemon

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/cloned-db/cloned/errs"
)

// TestChoose covers who is chosen, why, and that nothing else is opened.
func TestChoose(t *testing.T) {
	works := func(reason string) func(context.Context) (string, error) {
		return func(context.Context) (string, error) { return reason, nil }
	}
	fails := func(why string) func(context.Context) (string, error) {
		return func(context.Context) (string, error) { return "", errors.New(why) }
	}
	type row struct {
		usable  func(context.Context) (string, error)
		openErr error
		named   bool
	}
	for _, c := range []struct {
		name     string
		wanted   string
		kept     Choice
		a, b     row
		want     Choice
		foreseen Choice // where it differs: what opening alone can tell
		wantErr  string
		opened   string
	}{
		{name: "the best", wanted: Auto, a: row{usable: works("fine")}, b: row{usable: works("ok")},
			want: Choice{Name: "a", Reason: "fine"}, opened: "a"},
		{name: "the next", wanted: Auto, a: row{usable: fails("no kernel")}, b: row{usable: works("ok")},
			want: Choice{Name: "b", Reason: "ok; not a: no kernel"}, opened: "b"},
		{name: "the next after opening failed", wanted: Auto, a: row{usable: works("fine"), openErr: errors.New("no mount")}, b: row{usable: works("ok")},
			want: Choice{Name: "b", Reason: "ok; not a: no mount"}, foreseen: Choice{Name: "a", Reason: "fine"}, opened: "ab"},
		{name: "none", wanted: Auto, a: row{usable: fails("x")}, b: row{usable: fails("y")},
			wantErr: "no thing can be used here: not a: x; not b: y"},
		{name: "configured", wanted: "b", a: row{usable: works("fine")}, b: row{usable: works("ok")},
			want: Choice{Name: "b", Reason: "configured"}, opened: "b"},
		{name: "configured over kept", wanted: "b", kept: Choice{Name: "a", Reason: "old"}, a: row{usable: works("fine")}, b: row{usable: works("ok")},
			want: Choice{Name: "b", Reason: "configured"}, opened: "b"},
		{name: "kept, though another is better now", wanted: Auto, kept: Choice{Name: "b", Reason: "old"}, a: row{usable: works("fine")}, b: row{usable: works("ok")},
			want: Choice{Name: "b", Reason: "old"}, opened: "b"},
		{name: "kept, and out of order now", wanted: Auto, kept: Choice{Name: "a", Reason: "old"}, a: row{usable: works("fine"), openErr: errors.New("down")}, b: row{usable: works("ok")},
			wantErr: "down", foreseen: Choice{Name: "a", Reason: "old"}, opened: "a"},
		{name: "only what has a place", wanted: Auto, a: row{usable: works("fine")}, b: row{usable: works("ok"), named: true},
			want: Choice{Name: "b", Reason: "ok"}, opened: "b"},
		{name: "what has a place does not work", wanted: Auto, a: row{usable: fails("no pool"), named: true}, b: row{usable: works("ok")},
			wantErr: "no thing can be used here: not a: no pool"},
	} {
		t.Run(c.name, func(t *testing.T) {
			opened := ""
			open := func(name string, err error) func(context.Context) (string, error) {
				return func(context.Context) (string, error) { opened += name; return name, err }
			}
			options := []option[string]{
				{"a", c.a.named, nil, c.a.usable, open("a", c.a.openErr)},
				{"b", c.b.named, nil, c.b.usable, open("b", c.b.openErr)},
			}
			if c.foreseen == (Choice{}) {
				c.foreseen = c.want
			}
			foreseen, err := foresee(t.Context(), "thing", c.wanted, c.kept, options)
			if foreseen != c.foreseen || (err != nil) != (foreseen == Choice{}) || opened != "" {
				t.Errorf("foreseen %v, %v, opened %q", foreseen, err, opened)
			}
			got, choice, err := choose(t.Context(), "thing", c.wanted, c.kept, options, permitAll)
			if errText(err) != c.wantErr || opened != c.opened {
				t.Fatalf("error %v, opened %q", err, opened)
			}
			if c.wantErr == "" && (choice != c.want || got != c.want.Name) {
				t.Errorf("got %q, %v", got, choice)
			}
		})
	}
	_, _, err := choose[string](t.Context(), "thing", Auto, Choice{}, nil, permitAll)
	if !errs.Is(err, errs.Precondition) {
		t.Errorf("without options: %v", err)
	}
}

func permitAll(Choice) error { return nil }

// TestChooseVeto: what is not permitted is not opened.
func TestChooseVeto(t *testing.T) {
	veto := errors.New("not there")
	options := []option[string]{{
		name:   "a",
		place:  func(context.Context) (string, error) { return "/here", nil },
		usable: func(context.Context) (string, error) { return "fine", nil },
		open: func(context.Context) (string, error) {
			t.Error("it was opened")
			return "", nil
		},
	}}
	for _, wanted := range []string{"a", Auto} {
		_, chosen, err := choose(t.Context(), "thing", wanted, Choice{}, options, func(c Choice) error {
			if c.Place != "/here" {
				t.Errorf("asked about %v", c)
			}
			return veto
		})
		if !strings.Contains(errText(err), "not there") || chosen.Place != "/here" {
			t.Errorf("%s: %v, %v", wanted, chosen, err)
		}
	}
}
