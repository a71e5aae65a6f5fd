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
	// usable returns why it can be used here, or, as an error, why not. It
	// touches nothing.
	usable func(context.Context) (reason string, err error)
	open   func(context.Context) (T, error)
}

// choose opens the option that is wanted by name; with "auto" the one that was
// kept, and without one the first that is usable and opens. If the configuration
// names the place of some, only those are considered.
func choose[T any](ctx context.Context, what, wanted string, kept Choice, options []option[T]) (opened T, chosen Choice, err error) {
	candidates, chosen := candidates(wanted, kept, options)
	if chosen.Name != "" {
		opened, err = candidates[0].open(ctx)
		return opened, chosen, err
	}
	var passed []string
	for _, o := range candidates {
		reason, err := o.usable(ctx)
		if err == nil {
			opened, err = o.open(ctx)
		}
		if err == nil {
			return opened, Choice{Name: o.name, Reason: because(reason, passed)}, nil
		}
		if ctx.Err() != nil {
			return opened, Choice{}, err
		}
		passed = append(passed, "not "+o.name+": "+err.Error())
	}
	return opened, Choice{}, noneUsable(what, passed)
}

// foresee says what choose would choose, and opens nothing.
func foresee[T any](ctx context.Context, what, wanted string, kept Choice, options []option[T]) (Choice, error) {
	candidates, chosen := candidates(wanted, kept, options)
	var passed []string
	for _, o := range candidates {
		reason, err := o.usable(ctx)
		switch {
		case err != nil:
			passed = append(passed, "not "+o.name+": "+err.Error())
		case chosen.Name != "":
			return chosen, nil
		default:
			return Choice{Name: o.name, Reason: because(reason, passed)}, nil
		}
	}
	return Choice{}, noneUsable(what, passed)
}

// candidates returns the options to consider, in order; with a choice if there
// is only one and it is settled.
func candidates[T any](wanted string, kept Choice, options []option[T]) ([]option[T], Choice) {
	reason := "configured"
	if wanted == Auto {
		wanted, reason = kept.Name, kept.Reason
	}
	var named []option[T]
	for _, o := range options {
		if o.name == wanted {
			return []option[T]{o}, Choice{Name: o.name, Reason: reason}
		}
		if o.named {
			named = append(named, o)
		}
	}
	if len(named) > 0 {
		return named, Choice{}
	}
	return options, Choice{}
}

func because(reason string, passed []string) string {
	return strings.Join(append([]string{reason}, passed...), "; ")
}

func noneUsable(what string, passed []string) error {
	return errs.New(errs.Precondition, "NONE_USABLE", "no %s can be used here: %w", what, errors.New(strings.Join(passed, "; "))).
		WithHint("see `cloned check`")
}
