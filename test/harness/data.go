package harness

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
)

// shared are stopped data directories that several tests make goldens of, by
// name.
var shared struct {
	sync.Mutex
	root string
	dirs map[string]string
}

// Main runs a package's tests and removes the data directories that they
// shared. It returns the exit code.
func Main(m *testing.M) int {
	code := m.Run()
	if shared.root != "" {
		if err := os.RemoveAll(shared.root); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
	}
	return code
}

// DataDirectory is a stopped data directory with the shop in it. It is shared:
// copy it before you change it.
func (e *Env) DataDirectory(orders int) string {
	e.t.Helper()
	return DataDirectory(e.t, orders, 0)
}

// DataDirectory makes a stopped data directory with the shop in it and fillMB
// megabytes besides, or returns the one made before.
func DataDirectory(t testing.TB, orders, fillMB int) string {
	t.Helper()
	return SharedDirectory(t, fmt.Sprintf("shop-%d-%d", orders, fillMB), func(s *Server) {
		s.LoadShop(orders)
		if fillMB > 0 {
			// 7 KB a row, stored as they are: md5 does not compress.
			s.Exec("shop", fmt.Sprintf(`CREATE UNLOGGED TABLE filler (id int, payload text);
				ALTER TABLE filler ALTER payload SET STORAGE EXTERNAL;
				INSERT INTO filler SELECT i, (SELECT string_agg(md5(i::text || j::text), '') FROM generate_series(1, 240) j) FROM generate_series(1, %d) i;
				ALTER TABLE filler SET LOGGED`, fillMB*128))
		}
	})
}

// SharedDirectory makes a stopped data directory with what load puts in, or
// returns the one of the name that was made before. Copy it before you change it.
func SharedDirectory(t testing.TB, name string, load func(*Server)) string {
	t.Helper()
	shared.Lock()
	defer shared.Unlock()
	if dir, ok := shared.dirs[name]; ok {
		return dir
	}
	if shared.root == "" {
		root, err := os.MkdirTemp("/var/tmp", "cloned-data-")
		if err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(root, 0o755); err != nil {
			t.Fatal(err)
		}
		shared.root, shared.dirs = root, map[string]string{}
	}
	s := InitServer(t, filepath.Join(shared.root, name))
	s.Start()
	load(s)
	s.Stop()
	shared.dirs[name] = s.Dir
	return s.Dir
}

// GoldenFromDirectory makes a golden of a stopped data directory.
func (e *Env) GoldenFromDirectory(name string, orders int) {
	e.t.Helper()
	e.Ctl("golden", "create", name, "--from-directory", e.DataDirectory(orders))
}

// CopyDataDirectory copies a data directory, to be spoilt.
func (e *Env) CopyDataDirectory(dir string) string {
	e.t.Helper()
	to, err := os.MkdirTemp(e.Dir, "copy-")
	if err != nil {
		e.t.Fatal(err)
	}
	e.Copy(dir, to)
	return to
}

// Copy copies what is in a directory into another one, which then belongs to
// whom the first does.
func (e *Env) Copy(from, to string) {
	e.t.Helper()
	e.run("cp", "-a", from+"/.", to)
}

// PasswordFile is where WritePassword writes.
func (e *Env) PasswordFile() string { return filepath.Join(e.Dir, "password") }

// WritePassword writes the file that an operator names with --password-file.
func (e *Env) WritePassword(password string) {
	e.t.Helper()
	e.keepSecret("production's password", password)
	if err := os.WriteFile(e.PasswordFile(), []byte(password+"\n"), 0o600); err != nil {
		e.t.Fatal(err)
	}
}

// Standby makes a streaming standby of the server at dir; it is not started.
func (s *Server) Standby(dir string) *Server {
	s.t.Helper()
	if err := os.MkdirAll(dir, 0o700); err != nil {
		s.t.Fatal(err)
	}
	uid, gid := PostgresUser(s.t)
	if err := os.Chown(dir, uid, gid); err != nil {
		s.t.Fatal(err)
	}
	cmd := exec.Command(filepath.Join(s.bin, "pg_basebackup"), "-D", dir, "-R", "-X", "stream", "-c", "fast", "-d", s.URL("postgres"))
	asPostgres(s.t, cmd)
	if out, err := cmd.CombinedOutput(); err != nil {
		s.t.Fatalf("pg_basebackup: %v: %s", err, out)
	}
	return &Server{Dir: dir, Port: FreePort(s.t), Password: s.Password, t: s.t, bin: s.bin}
}
