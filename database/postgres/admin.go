package postgres

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"strconv"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"
	"golang.org/x/sys/unix"

	"github.com/cloned-db/cloned/database"
)

// maxMessage bounds a message that a server sends us, in bytes: what runs there
// is not trusted.
const maxMessage = 8 << 20

// dialAdmin connects to the admin socket of the server on a volume. published is
// the port that it is reached at from outside: where the runtime has it listen
// on that one, the socket is named after it.
//
// The clone's user can put anything in the socket's place. So it is looked up
// below the volume, checked to be a socket, and connected to by the very file
// that was checked; a link to another clone's socket leads nowhere. That the
// path is then /proc/self/fd/N also makes it short enough for a socket's.
func dialAdmin(ctx context.Context, volumePath string, published int) (net.Conn, error) {
	volume, err := os.OpenRoot(volumePath)
	if err != nil {
		return nil, err
	}
	defer volume.Close()
	var failed error
	for _, p := range []int{port, published} {
		name := runDir + "/.s.PGSQL." + strconv.Itoa(p)
		conn, err := dialSocket(ctx, volume, name)
		if err == nil {
			return conn, nil
		}
		if failed == nil || !errors.Is(err, fs.ErrNotExist) {
			failed = err
		}
	}
	return nil, failed
}

func dialSocket(ctx context.Context, volume *os.Root, name string) (net.Conn, error) {
	f, err := volume.OpenFile(name, unix.O_PATH|unix.O_NOFOLLOW, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if info.Mode().Type() != fs.ModeSocket {
		return nil, fmt.Errorf("%s is not a socket", name)
	}
	var d net.Dialer
	return d.DialContext(ctx, "unix", "/proc/self/fd/"+strconv.Itoa(int(f.Fd())))
}

// calm are the parameters of our sessions: whatever production has set for its
// roles and databases, our statements mean what they say, wait for nothing and
// set nothing off.
func calm() map[string]string {
	return map[string]string{
		"application_name":                    "cloned",
		"client_encoding":                     "SQL_ASCII", // bytes as they are
		"search_path":                         "pg_catalog",
		"default_transaction_read_only":       "off",
		"default_transaction_isolation":       "read committed",
		"statement_timeout":                   "0",
		"lock_timeout":                        "0",
		"idle_in_transaction_session_timeout": "0",
		"role":                                "none",
		"session_replication_role":            "replica", // triggers do not fire
		"session_preload_libraries":           "",
		"local_preload_libraries":             "",
		"dynamic_library_path":                "$libdir",
		"standard_conforming_strings":         "on",
	}
}

// adminLogin is how we log in to the server on a volume through the admin socket,
// to be sent at most that many bytes.
func adminLogin(volumePath string, published int, db string, answers int64) (*pgconn.Config, error) {
	config, err := loginConfig(db)
	if err != nil {
		return nil, err
	}
	config.Host, config.RuntimeParams = "/"+runDir, calm()
	config.DialFunc = pgconn.DialFunc(bounded(answers, func(ctx context.Context, _, _ string) (net.Conn, error) {
		return dialAdmin(ctx, volumePath, published)
	}))
	return config, nil
}

// connectAdmin logs in to the instance through its admin socket.
func connectAdmin(ctx context.Context, t database.Target, db string, answers int64) (*pgconn.PgConn, error) {
	config, err := adminLogin(t.VolumePath, t.Port, db, answers)
	if err != nil {
		return nil, err
	}
	return pgconn.ConnectConfig(ctx, config)
}

// loginConfig is how we log in to a server of ours: without anything from the
// environment or the home of whoever runs the daemon.
func loginConfig(db string) (*pgconn.Config, error) {
	config, err := pgconn.ParseConfig("host=/ sslmode=disable")
	if err != nil {
		return nil, err
	}
	config.Port, config.User, config.Database, config.Password = port, role, db, ""
	config.Fallbacks, config.TLSConfig, config.ValidateConnect = nil, nil, nil
	config.BuildFrontend = func(r io.Reader, w io.Writer) *pgproto3.Frontend {
		f := pgproto3.NewFrontend(r, w)
		f.SetMaxBodyLen(maxMessage)
		return f
	}
	return config, nil
}

// query returns the rows of a query, which has that many columns, as text; NULL
// is "".
func query(ctx context.Context, conn *pgconn.PgConn, columns int, sql string) ([][]string, error) {
	results := conn.Exec(ctx, sql)
	var rows [][]string
	for results.NextResult() {
		for reader := results.ResultReader(); reader.NextRow(); {
			values := reader.Values()
			if len(values) != columns { // it is no server, or not ours
				return nil, errors.Join(fmt.Errorf("it answers with %d columns, and %d were asked for", len(values), columns), conn.Conn().Close())
			}
			row := make([]string, len(values))
			for i, v := range values {
				row[i] = string(v)
			}
			rows = append(rows, row)
		}
	}
	if err := results.Close(); err != nil {
		return nil, err
	}
	return rows, nil
}

// closeConn ends a session and does not wait, as pgconn does, until the server
// has noted that: some milliseconds. That it could not say goodbye changes
// nothing: all that we asked for has been answered.
func closeConn(ctx context.Context, conn *pgconn.PgConn) {
	raw, err := conn.Hijack()
	if err != nil { // not idle
		_ = conn.Close(ctx)
		return
	}
	raw.Frontend.Send(&pgproto3.Terminate{})
	_ = raw.Frontend.Flush()
	_ = raw.Conn.Close()
}
