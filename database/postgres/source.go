package postgres

import (
	"net/url"
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
	if isURI(src.ConnInfo) {
		if err := checkURI(src.ConnInfo); err != nil {
			return nil, err
		}
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
	config.Password = src.Password.Reveal()
	for _, f := range config.Fallbacks {
		if isSocket(f.Host) != isSocket(config.Host) {
			return nil, errs.Fieldf(fieldConnInfo, "has both unix sockets and names as host")
		}
	}
	return config, nil
}

// checkURI refuses a URI that is not read by all in one way: who stops at which of
// several @, or trims what is no letter, connects elsewhere.
func checkURI(uri string) error {
	if strings.ContainsFunc(uri, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return errs.Fieldf(fieldConnInfo, "has a character in it that a URI can't have").WithHint("write it as %%XX, in hexadecimal")
	}
	user, rest, named := strings.Cut(uri[strings.Index(uri, "//")+2:], "@")
	if named && strings.ContainsAny(user, "/?#") || strings.Contains(rest, "@") {
		return errs.Fieldf(fieldConnInfo, "has an @ elsewhere than between the user and the host").WithHint("write it %%40")
	}
	return nil
}

// mentions says whether a connection string that was parsed sets a parameter
// itself, so that it comes neither from the daemon's environment nor from who
// runs it.
func mentions(connInfo, key string) bool {
	if isURI(connInfo) {
		return uriMentions(connInfo, key)
	}
	mentioned := false
	for {
		name, rest, ok := strings.Cut(connInfo, "=")
		if !ok {
			return mentioned
		}
		var value string
		value, connInfo = cutValue(strings.TrimLeft(rest, spaces))
		// What is nothing is taken from the environment. The last one counts.
		if strings.Trim(name, spaces) == key {
			mentioned = strings.Trim(value, `\`) != ""
		}
	}
}

func isURI(connInfo string) bool {
	return strings.HasPrefix(connInfo, "postgresql://") || strings.HasPrefix(connInfo, "postgres://")
}

const spaces = " \t\n\r\v\f"

// cutValue cuts the value off that a part of a connection string begins with: a
// word, or one in quotes. A backslash makes what follows it a part of the value.
func cutValue(s string) (value, rest string) {
	end := spaces
	if strings.HasPrefix(s, "'") {
		s, end = s[1:], "'"
	}
	for i := 0; i < len(s); i++ {
		switch {
		case s[i] == '\\':
			i++
		case strings.IndexByte(end, s[i]) >= 0:
			return s[:i], s[i+1:]
		}
	}
	return s, ""
}

func uriMentions(uri, key string) bool {
	u, err := url.Parse(uri)
	if err != nil {
		return false
	}
	if in := u.Query(); in.Has(key) {
		return strings.Trim(in.Get(key), spaces) != ""
	}
	switch key {
	case "user":
		return strings.Trim(u.User.Username(), spaces) != ""
	case "host":
		host := strings.Trim(u.Host, spaces)
		return host != "" && host[0] != ':'
	}
	return false
}

// isSocket says that a host is the directory of a unix socket.
func isSocket(host string) bool {
	return strings.HasPrefix(host, "/") || strings.HasPrefix(host, "@")
}
