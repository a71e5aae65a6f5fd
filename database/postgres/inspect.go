package postgres

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/cloned-db/cloned/database"
	"github.com/cloned-db/cloned/errs"
)

// Inspect implements database.Engine. It reads files, and may be called while a
// server runs on them.
func (*Engine) Inspect(ctx context.Context, volumePath, dataDir string) (database.Facts, error) {
	volume, err := os.OpenRoot(volumePath)
	if err != nil {
		return database.Facts{}, errs.New(errs.Internal, "VOLUME", "opening the volume: %w", err).WithPhase(phaseProbe)
	}
	defer volume.Close()
	d, err := inspect(ctx, volume, dataDir)
	return d.facts, inPhase(phaseProbe, err)
}

// directory is what was found out about a data directory.
type directory struct {
	facts    database.Facts
	control  control
	settings settings
	size     int64
}

// inspect looks at the data directory dataDir below the volume.
func inspect(ctx context.Context, volume *os.Root, dataDir string) (directory, error) {
	if !filepath.IsLocal(dataDir) {
		return directory{}, errs.Fieldf("source.data_dir", "%q is not a path inside the dataset", dataDir)
	}
	data, err := volume.OpenRoot(dataDir)
	if err != nil {
		return directory{}, errs.New(errs.Invalid, database.ReasonNotADataDirectory, "there is no data directory at %q: %w", dataDir, err)
	}
	defer data.Close()
	var d directory
	if d.facts.Major, err = readMajor(data); err != nil {
		return d, err
	}
	if d.control, err = readControl(data, d.facts.Major); err != nil {
		return d, err
	}
	found, err := scan(ctx, volume, path.Clean(dataDir))
	if err != nil {
		return d, unreadable(err)
	}
	d.size = found.Size
	if err := found.check(); err != nil {
		return d, err
	}
	if err := checkWAL(data); err != nil {
		return d, err
	}
	var warnings []string
	d.settings, warnings = loadSettings(data)
	return d, d.describe(data, warnings)
}

// describe fills in the facts.
func (d *directory) describe(data *os.Root, warnings []string) error {
	info, err := data.Stat(".")
	if err != nil {
		return unreadable(err)
	}
	standby := d.control.State == inArchiveRecovery || d.control.State == shutDownInRecovery
	for _, name := range []string{"standby.signal", "recovery.signal"} {
		has, err := exists(data, name)
		if err != nil {
			return unreadable(err)
		}
		standby = standby || has
	}
	hasConf, err := exists(data, confFile)
	if err != nil {
		return unreadable(err)
	}
	if !hasConf {
		warnings = append(warnings, confFile+" is not in the data directory (Debian keeps it in /etc): clones run with the defaults and the golden's own settings")
	}
	f := &d.facts
	f.SystemID = strconv.FormatUint(d.control.SystemID, 10)
	f.CleanShutdown = d.control.State == shutDown
	f.Standby = standby
	f.Owner = ownerOf(info)
	f.PreloadLibraries = splitLibraries(d.settings[preload])
	f.Warnings = told(append(warnings, d.settings.warnings()...))
	return nil
}

// readMajor reads PG_VERSION.
func readMajor(data *os.Root) (int, error) {
	content, err := readFile(data, "PG_VERSION", 64)
	if errors.Is(err, fs.ErrNotExist) {
		return 0, errs.New(errs.Invalid, database.ReasonNotADataDirectory, "it is not PostgreSQL's data directory: no PG_VERSION in it").
			WithHint("name the directory that has PG_VERSION, base and global in it; Debian's is /var/lib/postgresql/MAJOR/main")
	}
	if err != nil {
		return 0, unreadable(err)
	}
	text := strings.TrimSpace(string(content))
	major, err := strconv.Atoi(text)
	if err != nil {
		if _, err := strconv.ParseFloat(text, 64); err == nil { // 9.6 and older
			return 0, errs.New(errs.Precondition, database.ReasonVersion, "PostgreSQL %s is not supported", text).
				WithHint("versions %d to %d are", oldest, newest)
		}
		return 0, errs.New(errs.Corrupt, "PG_VERSION", "PG_VERSION of the data directory says %q", text)
	}
	return major, checkMajor(major)
}

var walSegment = regexp.MustCompile(`^[0-9A-F]{24}$`)

// checkWAL returns an error if there is no WAL: without it no server starts.
func checkWAL(data *os.Root) error {
	segments, err := names(data, "pg_wal")
	if err != nil {
		return unreadable(err)
	}
	if slices.ContainsFunc(segments, walSegment.MatchString) {
		return nil
	}
	return errs.New(errs.Corrupt, "NO_WAL", "the data directory has no write-ahead log in pg_wal").
		WithHint("if pg_wal is a filesystem of its own, it is not in a snapshot of this one: move it inside")
}

// unreadable is an error for a part of a data directory that can't be read.
func unreadable(err error) error {
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return errs.New(errs.Unavailable, "CANCELLED", "reading the data directory: %w", err)
	}
	if errors.Is(err, fs.ErrPermission) {
		return errs.New(errs.Denied, "NOT_READABLE", "the data directory can't be read: %w", err).
			WithHint("run the daemon as root, or as the owner of the directory")
	}
	return errs.New(errs.Precondition, "NOT_READABLE", "the data directory can't be read: %w", err)
}

// pathSettings are those that may name a path which is not in a clone.
var pathSettings = []string{
	"data_directory", "hba_file", "ident_file", "external_pid_file", "log_directory", "stats_temp_directory",
	"ssl_cert_file", "ssl_key_file", "ssl_ca_file", "ssl_crl_file", "krb_server_keyfile", "dynamic_library_path",
}

// dangers are settings that would hurt in a clone if they have a value other than
// the calm one, and what they would do.
var dangers = []struct{ name, calm, does string }{
	{"archive_mode", "off", "would archive over production's archive"},
	{"archive_command", "", "would archive over production's archive"},
	{"restore_command", "", "would read production's archive"},
	{"primary_conninfo", "", "would replicate from production"},
	{"synchronous_standby_names", "", "would wait for production's standbys"},
	{"ssl_passphrase_command", "", "would run a command"},
	{"session_preload_libraries", "", "would load libraries into each session"},
	{"local_preload_libraries", "", "would load libraries into each session"},
}

// warnings says which settings preparation neutralises, never with their
// values, in which passwords may be.
func (s settings) warnings() []string {
	var out []string
	for _, d := range dangers {
		if value, ok := s[d.name]; ok && value != "" && !strings.EqualFold(value, d.calm) {
			out = append(out, d.name+" "+d.does+": taken away")
		}
	}
	for _, name := range pathSettings {
		if path.IsAbs(s[name]) {
			out = append(out, name+" is an absolute path: ignored")
		}
	}
	_, refused := loadable(splitLibraries(s[preload]))
	for _, r := range refused {
		out = append(out, r+": not loaded")
	}
	return out
}
