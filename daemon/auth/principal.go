package auth

import (
	"context"
	"fmt"
	"strings"

	"github.com/cloned-db/cloned/daemon/control"
	"github.com/cloned-db/cloned/errs"
)

// Role is what a principal may do, as in the API's Role, whose numbers it has.
type Role int

// Each role may do what those before it may; see the API's Role for the one
// exception.
const (
	// NoRole may do nothing.
	NoRole Role = iota
	Viewer
	User
	Operator
	Admin
)

var roleNames = [...]string{NoRole: "none", Viewer: "viewer", User: "user", Operator: "operator", Admin: "admin"}

// String returns the role's name, as in the configuration.
func (r Role) String() string {
	if r < 0 || int(r) >= len(roleNames) {
		return roleNames[NoRole]
	}
	return roleNames[r]
}

// ParseRole is the opposite of String; errs.Invalid for what is no role.
func ParseRole(name string) (Role, error) {
	for r := Viewer; r <= Admin; r++ {
		if roleNames[r] == name {
			return r, nil
		}
	}
	return NoRole, errs.Fieldf("role", "%q is none of %s", name, strings.Join(roleNames[Viewer:], ", "))
}

// UnmarshalText reads a role in the configuration.
func (r *Role) UnmarshalText(text []byte) (err error) {
	*r, err = ParseRole(string(text))
	return err
}

// MarshalText writes what UnmarshalText reads.
func (r Role) MarshalText() ([]byte, error) {
	if r == NoRole {
		return nil, fmt.Errorf("no role")
	}
	return []byte(r.String()), nil
}

// Principal is who makes a request, as proved.
type Principal struct {
	// Name is stable and unique over all ways of proof, whose name it begins with:
	// "unix:alice", "token:ci", "cert:ci-17", "oidc:repo:acme/shop:ref:refs/heads/main".
	Name string
	Role Role
	// Goldens are those that it may use; empty for all.
	Goldens []string
	Limits  control.Limits
	// Proof ends when what proved the name is no longer good, and with it the
	// principal's streams; nil if it need not last as long as they do.
	Proof context.Context
}

// Caller is the principal as the control plane knows it.
func (p Principal) Caller() control.Caller {
	return control.Caller{
		Principal: p.Name, All: p.Role != User, Change: p.Role >= Operator,
		Goldens: p.Goldens, Limits: p.Limits,
	}
}

type principalKey struct{}

// With returns a context of a request that the principal makes.
func With(ctx context.Context, p Principal) context.Context {
	return control.WithCaller(context.WithValue(ctx, principalKey{}, p), p.Caller())
}

// From returns the principal that With put into the context.
func From(ctx context.Context) (Principal, bool) {
	p, ok := ctx.Value(principalKey{}).(Principal)
	return p, ok
}
