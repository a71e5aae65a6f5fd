package postgres

import (
	"path/filepath"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/cloned-db/cloned/database"
	"github.com/cloned-db/cloned/errs"
)

const (
	fieldDirectory = "source.directory"
	fieldConnInfo  = "source.conninfo"
)

// connInfoKeys are the parameters that a source's connection string may have.
// None names a file of the host: the copying runs in a container, which does
// not see it.
var connInfoKeys = []string{
	"host", "port", "user", "dbname", "sslmode", "connect_timeout",
	"application_name", "target_session_attrs", "channel_binding",
}

// CheckSource implements database.Engine.
func (*Engine) CheckSource(src database.Source) error {
	switch src.Kind {
	case database.SourceDirectory:
		if !filepath.IsAbs(src.Directory) || strings.ContainsRune(src.Directory, 0) {
			return errs.Fieldf(fieldDirectory, "%q is not an absolute path", src.Directory)
		}
		return nil
	case database.SourceBaseBackup:
		_, err := parseConnInfo(src)
		return err
	case database.SourceInPlace, database.SourceClone:
		return nil // which there are, only the control plane knows
	default:
		return errs.Fieldf("source.kind", "%q is not directory, basebackup, inplace or clone", src.Kind)
	}
}

// parseConnInfo reads the connection string of a source and adds its password.
func parseConnInfo(src database.Source) (*pgconn.Config, error) {
	if strings.ContainsRune(src.ConnInfo, 0) {
		return nil, errs.Fieldf(fieldConnInfo, "has a NUL in it")
	}
	config, err := pgconn.ParseConfigWithOptions(src.ConnInfo, pgconn.ParseConfigOptions{ConnStringAllowedKeys: connInfoKeys})
	if err != nil {
		// The cause quotes the string, in which somebody may have put a password.
		return nil, errs.Fieldf(fieldConnInfo, "is not a connection string or URI with only %s", strings.Join(connInfoKeys, ", ")).
			WithHint("a password belongs in the golden's password file")
	}
	if !mentions(src.ConnInfo, "user") {
		return nil, errs.Fieldf(fieldConnInfo, "names no user").
			WithHint("add user=NAME: a role with the attribute REPLICATION")
	}
	if !mentions(src.ConnInfo, "host") {
		return nil, errs.Fieldf(fieldConnInfo, "names no host")
	}
	config.Password = src.Password
	for _, f := range config.Fallbacks {
		if isSocket(f.Host) != isSocket(config.Host) {
			return nil, errs.Fieldf(fieldConnInfo, "has both unix sockets and names as host")
		}
	}
	return config, nil
}

// mentions says whether a connection string that was parsed sets a parameter
// itself, so that it comes neither from the daemon's environment nor from who
// runs it.
func mentions(connInfo, key string) bool {
	if rest, ok := strings.CutPrefix(connInfo, "postgresql://"); ok {
		return uriMentions(rest, key)
	}
	if rest, ok := strings.CutPrefix(connInfo, "postgres://"); ok {
		return uriMentions(rest, key)
	}
	for word := range strings.FieldsFuncSeq(connInfo, func(r rune) bool { return r == ' ' || r == '=' || r == '\t' || r == '\n' }) {
		if word == key {
			return true
		}
	}
	return false
}

func uriMentions(rest, key string) bool {
	authority, query, _ := strings.Cut(rest, "?")
	authority, _, _ = strings.Cut(authority, "/")
	user, host, hasUser := strings.Cut(authority, "@")
	if !hasUser {
		user, host = "", authority
	}
	switch {
	case key == "user" && user != "", key == "host" && host != "" && host[0] != ':':
		return true
	}
	for pair := range strings.SplitSeq(query, "&") {
		if name, _, _ := strings.Cut(pair, "="); name == key {
			return true
		}
	}
	return false
}

// isSocket says that a host is the directory of a unix socket.
func isSocket(host string) bool {
	return strings.HasPrefix(host, "/") || strings.HasPrefix(host, "@")
}
