package daemon

import (
	"os"
	"os/user"
	"strconv"

	"github.com/cloned-db/cloned/daemon/auth"
	"github.com/cloned-db/cloned/errs"
)

// noGroup is the socket group when none is configured.
const noGroup = -1

// local finds the users and groups of the configuration on this host. Whose socket
// it is in the file system follows: who has a role must be able to connect, and
// of users and several groups only "everybody" can be said there. Who connects is
// looked at in any case.
func (c Config) local() (auth.Local, socketRights, error) {
	l := auth.Local{Own: uint32(os.Geteuid()), Users: map[uint32]auth.Role{}, Groups: map[uint32]auth.Role{}}
	rights := socketRights{mode: 0o600, group: noGroup}
	if c.SocketGroup != "" {
		gid, err := lookUpGroup("socket_group", c.SocketGroup)
		if err != nil {
			return l, rights, err
		}
		rights = socketRights{mode: 0o660, group: int(gid)}
	}
	for name, role := range c.Access.Users {
		uid, err := lookUpUser("access.users."+name, name)
		if err != nil {
			return l, rights, err
		}
		l.Users[uid] = max(l.Users[uid], role)
		rights.mode = 0o666
	}
	for name, role := range c.Access.Groups {
		gid, err := lookUpGroup("access.groups."+name, name)
		if err != nil {
			return l, rights, err
		}
		l.Groups[gid] = max(l.Groups[gid], role)
		if int(gid) != rights.group {
			rights.mode = 0o666
		}
	}
	if _, mapped := l.Groups[uint32(rights.group)]; rights.group != noGroup && !mapped {
		l.Groups[uint32(rights.group)] = auth.User
	}
	return l, rights, nil
}

func lookUpGroup(field, name string) (uint32, error) {
	group, err := user.LookupGroup(name)
	if err != nil {
		group, err = user.LookupGroupId(name)
	}
	if err != nil {
		return 0, errs.Fieldf(field, "there is no group %q", name).WithHint("make it: groupadd --system %s", name)
	}
	return number(field, group.Gid)
}

func lookUpUser(field, name string) (uint32, error) {
	u, err := user.Lookup(name)
	if err != nil {
		u, err = user.LookupId(name)
	}
	if err != nil {
		return 0, errs.Fieldf(field, "there is no user %q", name).WithHint("name a user of this host, by name or number")
	}
	return number(field, u.Uid)
}

func number(field, id string) (uint32, error) {
	n, err := strconv.ParseUint(id, 10, 32)
	if err != nil {
		return 0, errs.Fieldf(field, "%w", err)
	}
	return uint32(n), nil
}
