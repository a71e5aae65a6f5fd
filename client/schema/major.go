package schema

import (
	"strconv"

	"github.com/jackc/pgx/v5"

	"github.com/cloned-db/cloned/errs"
)

// SameMajor returns errs.Precondition (MAJOR_DIFFERS) if the servers of two
// sessions are of different major versions. What is compared, rows included, is
// written differently by each, so this comes first.
func SameMajor(a, b *pgx.Conn) error {
	one, err := major(a)
	if err != nil {
		return err
	}
	two, err := major(b)
	if err != nil {
		return err
	}
	if one != two {
		return errs.New(errs.Precondition, "MAJOR_DIFFERS", "the databases are of different major versions: %d and %d", one, two).
			WithHint("compare databases of one version: definitions are written differently by each")
	}
	return nil
}

// major is the major version of a session's server, as it said at the login.
func major(conn *pgx.Conn) (int, error) {
	said := conn.PgConn().ParameterStatus("server_version")
	digits := 0
	for digits < len(said) && said[digits] >= '0' && said[digits] <= '9' {
		digits++
	}
	n, err := strconv.Atoi(said[:digits])
	if err != nil {
		return 0, errs.New(errs.Unavailable, "SCHEMA_UNREADABLE", "a server says that its version is %q", said)
	}
	return n, nil
}
