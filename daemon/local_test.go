package daemon

import (
	"maps"
	"testing"

	"github.com/cloned-db/cloned/daemon/auth"
	"github.com/cloned-db/cloned/errs"
)

// TestLocal: who has a role can connect, and nobody else unless the file system
// can't say it.
func TestLocal(t *testing.T) {
	roles := func(of ...any) map[uint32]auth.Role {
		m := map[uint32]auth.Role{}
		for i := 0; i < len(of); i += 2 {
			m[uint32(of[i].(int))] = of[i+1].(auth.Role)
		}
		return m
	}
	for name, c := range map[string]struct {
		cfg           Config
		users, groups map[uint32]auth.Role
		rights        socketRights
	}{
		"nothing":              {Config{}, roles(), roles(), socketRights{0o600, noGroup}},
		"socket group":         {Config{SocketGroup: "root"}, roles(), roles(0, auth.User), socketRights{0o660, 0}},
		"by number":            {Config{SocketGroup: "0"}, roles(), roles(0, auth.User), socketRights{0o660, 0}},
		"with another role":    {Config{SocketGroup: "root", Access: AccessConfig{Groups: map[string]auth.Role{"root": auth.Viewer}}}, roles(), roles(0, auth.Viewer), socketRights{0o660, 0}},
		"and another group":    {Config{SocketGroup: "root", Access: AccessConfig{Groups: map[string]auth.Role{"daemon": auth.Operator}}}, roles(), roles(0, auth.User, 1, auth.Operator), socketRights{0o666, 0}},
		"a group":              {Config{Access: AccessConfig{Groups: map[string]auth.Role{"daemon": auth.User}}}, roles(), roles(1, auth.User), socketRights{0o666, noGroup}},
		"a user":               {Config{Access: AccessConfig{Users: map[string]auth.Role{"daemon": auth.Admin}}}, roles(1, auth.Admin), roles(), socketRights{0o666, noGroup}},
		"twice, the highest":   {Config{Access: AccessConfig{Users: map[string]auth.Role{"daemon": auth.Viewer, "1": auth.User}}}, roles(1, auth.User), roles(), socketRights{0o666, noGroup}},
		"twice, the other way": {Config{Access: AccessConfig{Users: map[string]auth.Role{"daemon": auth.User, "1": auth.Viewer}}}, roles(1, auth.User), roles(), socketRights{0o666, noGroup}},
	} {
		l, rights, err := c.cfg.local()
		if err != nil || !maps.Equal(l.Users, c.users) || !maps.Equal(l.Groups, c.groups) || rights != c.rights {
			t.Errorf("%s: %v, %v, %v", name, l, rights, err)
		}
	}
	for field, cfg := range map[string]Config{
		"socket_group":          {SocketGroup: "no-such"},
		"access.users.no-such":  {Access: AccessConfig{Users: map[string]auth.Role{"no-such": auth.User}}},
		"access.groups.no-such": {Access: AccessConfig{Groups: map[string]auth.Role{"no-such": auth.User}}},
	} {
		if _, _, err := cfg.local(); !errs.Is(err, errs.Invalid) || errs.As(err).Field != field || errs.As(err).Hint == "" {
			t.Errorf("%s: %v", field, err)
		}
	}
}
