package auth

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Local gives users of this host, who come through a unix socket, their roles.
type Local struct {
	// Own is the daemon's own user, who is admin, as root is.
	Own uint32
	// Users and Groups have the roles of others, by number.
	Users, Groups map[uint32]Role
}

// Principal returns who the peer is: of all roles that fit, the highest.
func (l Local) Principal(p Peer) (Principal, error) {
	role := l.Users[p.UID]
	if p.UID == 0 || p.UID == l.Own {
		role = Admin
	}
	for _, gid := range append([]uint32{p.GID}, p.Groups...) {
		role = max(role, l.Groups[gid])
	}
	if role == NoRole {
		return Principal{}, Unauthenticated("user %s has no role here", p.User).
			WithHint("ask the daemon's operator for a token, or for a role under access in the configuration; log in again after a change of your groups")
	}
	return Principal{Name: "unix:" + p.User, Role: role}, nil
}

// String describes who has a role, for the log.
func (l Local) String() string {
	who := fmt.Sprintf("root and user %d: admin", l.Own)
	for _, list := range []struct {
		what  string
		roles map[uint32]Role
	}{{"user", l.Users}, {"group", l.Groups}} {
		for _, id := range slices.Sorted(maps.Keys(list.roles)) {
			who += fmt.Sprintf("; %s %d: %s", list.what, id, list.roles[id])
		}
	}
	return strings.TrimSpace(who)
}
