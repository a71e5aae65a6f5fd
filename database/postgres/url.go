package postgres

import (
	"net"
	"net/url"
	"strconv"

	"github.com/cloned-db/cloned/database"
)

// ConnectionURL implements database.Engine.
func (*Engine) ConnectionURL(t database.Target) string {
	u := url.URL{
		Scheme:  "postgresql",
		Host:    net.JoinHostPort(t.Addr, strconv.Itoa(t.Port)),
		Path:    "/" + databaseOf(t),
		RawPath: "/" + url.PathEscape(databaseOf(t)),
		User:    url.User(t.Role),
	}
	if t.Password != "" {
		u.User = url.UserPassword(t.Role, t.Password.Reveal())
	}
	return u.String()
}

// databaseOf is the database to connect to.
func databaseOf(t database.Target) string {
	if t.Database == "" {
		return maintenance
	}
	return t.Database
}
