// Package errs holds the kinds of error that every part of cloned uses, from
// a driver to the command line. It is a leaf: everyone may import it, it
// imports nothing of the project.
//
// An error is made where the fault is known, with the kind that tells a
// program what to do and the message that tells a person; layers above wrap
// it with %w. Kind, Reason and the rest are found again with errors.As.
package errs

import (
	"errors"
	"fmt"
)

// Kind says what a caller can do about an error. Each maps to one gRPC code
// and one exit code of clonectl.
type Kind int

const (
	// Internal is a fault of cloned itself. The zero Kind, so that an error
	// nobody classified is never mistaken for another kind.
	Internal Kind = iota
	// Invalid is bad input: the message names the field and the rule.
	Invalid
	// NotFound means the named object does not exist. Never returned for
	// "could not find out".
	NotFound
	// Exists means the name is taken by an object with another specification.
	Exists
	// Precondition means the state of an object forbids the request.
	Precondition
	// Conflict means the object changed meanwhile: read it again and retry.
	Conflict
	// Exhausted means a limit or the pool's space is used up.
	Exhausted
	// Unavailable means something outside does not answer now: retry later.
	Unavailable
	// Denied means the caller may not do this.
	Denied
	// Corrupt means data is lost or damaged, as when a volume has vanished.
	Corrupt
)

var kindNames = [...]string{
	Internal: "internal", Invalid: "invalid", NotFound: "not-found", Exists: "exists",
	Precondition: "precondition", Conflict: "conflict", Exhausted: "exhausted",
	Unavailable: "unavailable", Denied: "denied", Corrupt: "corrupt",
}

// String returns the kind's name in lower case, as used in logs and metrics.
func (k Kind) String() string {
	if k < 0 || int(k) >= len(kindNames) {
		return kindNames[Internal]
	}
	return kindNames[k]
}

// Kinds returns every kind, for tests that must cover them all.
func Kinds() []Kind {
	return []Kind{Internal, Invalid, NotFound, Exists, Precondition, Conflict, Exhausted, Unavailable, Denied, Corrupt}
}

// Error is an error with a kind.
type Error struct {
	Kind Kind
	// Reason is a stable UPPER_SNAKE_CASE word for programs, e.g. "NAME_TAKEN".
	Reason string
	// Message says what is wrong, for a person, without a full stop.
	Message string
	// Hint says what to do next; empty if there is nothing to say.
	Hint string
	// Field names the request's field at fault, for Invalid.
	Field string
	// Phase names the phase of an operation in which it failed.
	Phase string
	// Retryable says that the same request may succeed later.
	Retryable bool
	// Log holds the last log lines of the database that failed, oldest first.
	Log []string
	// Err is the cause, if any.
	Err error
}

// Error returns the message, followed by that of the cause.
func (e *Error) Error() string {
	if e.Err == nil {
		return e.Message
	}
	if _, inMessage := e.Err.(cause); inMessage {
		return e.Message
	}
	if e.Message == "" {
		return e.Err.Error()
	}
	return e.Message + ": " + e.Err.Error()
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// New makes an error of the kind. The format's last %w operand, if any,
// becomes its cause. What the message quotes may be anybody's: it is made Plain.
func New(kind Kind, reason, format string, args ...any) *Error {
	err := fmt.Errorf(format, args...)
	return &Error{
		Kind: kind, Reason: reason, Message: Plain(err.Error()),
		Retryable: kind == Unavailable || kind == Conflict,
		Err:       silent(errors.Unwrap(err)),
	}
}

// Fieldf makes an Invalid error about a field of the request.
func Fieldf(field, format string, args ...any) *Error {
	e := New(Invalid, "INVALID_FIELD", field+": "+format, args...)
	e.Field = field
	return e
}

// WithHint sets what the user can do next and returns e.
func (e *Error) WithHint(format string, args ...any) *Error {
	e.Hint = Plain(fmt.Sprintf(format, args...))
	return e
}

// WithPhase sets the phase in which an operation failed and returns e.
func (e *Error) WithPhase(phase string) *Error {
	e.Phase = phase
	return e
}

// WithLog sets the database's last log lines and returns e.
func (e *Error) WithLog(lines []string) *Error {
	e.Log = lines
	return e
}

// As returns the outermost *Error in err's chain. An error without one
// becomes Internal with err as its cause; nil stays nil.
func As(err error) *Error {
	if err == nil {
		return nil
	}
	var e *Error
	if errors.As(err, &e) {
		return e
	}
	return &Error{Kind: Internal, Reason: "INTERNAL", Err: err}
}

// KindOf returns the kind of err; Internal if it has none. It must not be
// called with nil.
func KindOf(err error) Kind { return As(err).Kind }

// Is reports whether err is of the kind; false for nil.
func Is(err error, kind Kind) bool { return err != nil && KindOf(err) == kind }

// cause keeps an error in the chain whose text the message already contains.
type cause struct{ error }

func (c cause) Unwrap() error { return c.error }

func silent(err error) error {
	if err == nil {
		return nil
	}
	return cause{err}
}
