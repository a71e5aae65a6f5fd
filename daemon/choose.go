package daemon

import (
	"context"
	"errors"
	"strings"

	"github.com/cloned-db/cloned/errs"
)

// option is a driver or runtime that may be chosen: a row of the tables in
// wiring.go.
type option[T any] struct {
	name string
	// named says that the configuration names its place.
	named bool
	// place returns where its data is; nil if that can't be chosen.
	place func(context.Context) (string, error)
	// usable returns why it can be used here, or, as an error, why not. It
	// touches nothing.
	usable func(context.Context) (reason string, err error)
	open   func(context.Context) (T, error)
}

// choose opens the option that is wanted by name; with "auto" the one that was
// kept, and without one the first that is usable and opens. If the configuration
// names the place of some, only those are considered. permit may veto a choice
// before it is opened.
func choose[T any](ctx context.Context, what, wanted string, kept Choice, options []option[T], permit func(Choice) error) (opened T, chosen Choice, err error) {
	open := func(o option[T], reason string) error {
		chosen = Choice{Name: o.name, Reason: reason}
		if o.place != nil {
			if chosen.Place, err = o.place(ctx); err != nil {
				return err
			}
		}
		if err = permit(chosen); err == nil {
			opened, err = o.open(ctx)
		}
		return err
	}
	candidates, settled := candidates(wanted, kept, options)
	if settled != "" {
		err = open(candidates[0], settled)
		return opened, chosen, err
	}
	var passed []string
	for _, o := range candidates {
		reason, err := o.usable(ctx)
		if err == nil {
			err = open(o, because(reason, passed))
		}
		if err == nil || ctx.Err() != nil {
			return opened, chosen, err
		}
		passed = append(passed, "not "+o.name+": "+err.Error())
	}
	return opened, chosen, noneUsable(what, passed).WithHint("see `cloned check`")
}

// foresee says what choose would choose, and opens nothing.
func foresee[T any](ctx context.Context, what, wanted string, kept Choice, options []option[T]) (Choice, error) {
	candidates, settled := candidates(wanted, kept, options)
	var passed []string
	for _, o := range candidates {
		reason, err := o.usable(ctx)
		switch {
		case err != nil:
			passed = append(passed, "not "+o.name+": "+err.Error())
		case settled != "":
			return Choice{Name: o.name, Reason: settled}, nil
		default:
			return Choice{Name: o.name, Reason: because(reason, passed)}, nil
		}
	}
	return Choice{}, noneUsable(what, passed)
}

// candidates returns the options to consider, in order; if there is no choice,
// the only one and the reason for it.
func candidates[T any](wanted string, kept Choice, options []option[T]) (list []option[T], settled string) {
	settled = "configured"
	if wanted == Auto {
		wanted, settled = kept.Name, kept.Reason
	}
	for _, o := range options {
		if o.name == wanted {
			return []option[T]{o}, settled
		}
		if o.named {
			list = append(list, o)
		}
	}
	if len(list) == 0 {
		list = options
	}
	return list, ""
}

func because(reason string, passed []string) string {
	return strings.Join(append([]string{reason}, passed...), "; ")
}

func noneUsable(what string, passed []string) *errs.Error {
	return errs.New(errs.Precondition, "NONE_USABLE", "no %s can be used here: %w", what, errors.New(strings.Join(passed, "; ")))
}
