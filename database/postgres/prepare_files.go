package postgres

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/cloned-db/cloned/errs"
)

// files does the first step of a preparation.
func (p *preparation) files() error {
	err := p.within(func(volume, data *os.Root) error {
		var err error
		if p.control, err = readControl(data, p.req.Facts.Major); err != nil {
			return err
		}
		for _, step := range []func(volume, data *os.Root) error{
			p.owners, p.settings, p.remove, p.secrets, p.signals, p.own,
		} {
			if err := step(volume, data); err != nil {
				return err
			}
		}
		return nil
	})
	return volumeError("preparing the files", err)
}

// owners makes the way to the data, and the data, its user's alone: servers
// refuse a data directory that others may enter.
func (p *preparation) owners(_, data *os.Root) error {
	if err := giveRoot(p.req.Volume.Path, p.req.Facts.Owner); err != nil {
		return err
	}
	return data.Chmod(".", 0o700)
}

// dropped are settings of the data directory that do not come along, besides
// those that harmless overrides: they are in one way or another about the host
// that the data comes from. Some hold passwords of production.
var dropped = []string{
	"allow_alter_system", "config_file", "hot_standby", "hot_standby_feedback", "krb_server_keyfile", "log_directory",
	"log_filename", "recovery_min_apply_delay", "recovery_target_action", "recovery_target_inclusive",
	"recovery_target_timeline", "restart_after_crash", "wal_receiver_create_temp_slot",
	"pre_auth_delay", "post_auth_delay",
	"zero_damaged_pages", "ignore_system_indexes", "ignore_checksum_failure", "ignore_invalid_pages",
	"bonjour", "bonjour_name", "event_source", "syslog_facility", "syslog_ident",
}

// settings replaces the data directory's files of settings by one that holds
// what of them serves a clone. What they include from elsewhere is not there,
// and what one server takes another image's may not.
func (p *preparation) settings(_, data *os.Root) error {
	found, _ := loadSettings(data) // Inspect has said what could not be read
	var libraries, refused []string
	if own, ok := p.req.Settings[preload]; ok {
		libraries = splitLibraries(own)
	} else {
		libraries, refused = loadable(splitLibraries(found[preload]))
	}
	p.result.PreloadLibraries = libraries
	for _, r := range refused {
		p.defused(r)
	}
	p.source, p.conf = found, settings{}
	for name, value := range found {
		switch {
		case isHarmless(name), name == preload, slices.Contains(dropped, name), strings.HasPrefix(name, "ssl_"):
		case !settingName.MatchString(name):
		default:
			p.conf[name] = value
		}
	}
	for _, d := range dangers {
		if value := found[d.name]; value != "" && !strings.EqualFold(value, d.calm) {
			p.defused("setting " + d.name)
		}
	}
	p.result.Parameters = p.control.parameters()
	return p.writeConf(data)
}

const confComment = `# Written by cloned when it prepared this database: the settings of the source
# that serve a clone. Those on the command line (SHOW, or pg_settings) stand
# above them.
`

func (p *preparation) writeConf(data *os.Root) error {
	if err := writeFile(data, confFile, p.conf.render(confComment), p.req.Facts.Owner); err != nil {
		return err
	}
	return writeFile(data, autoFile, "", p.req.Facts.Owner)
}

// parameters are the settings that the data was last run with and that what is
// in it may need: a server may have been given them on its command line.
func (c control) parameters() settings {
	s := settings{}
	if c.MaxPreparedTransactions > 0 {
		s["max_prepared_transactions"] = strconv.Itoa(int(c.MaxPreparedTransactions))
	}
	if c.MaxLocks > 64 { // the default
		s["max_locks_per_transaction"] = strconv.Itoa(int(c.MaxLocks))
	}
	if c.TrackCommitTimestamp {
		s["track_commit_timestamp"] = "on"
	}
	if c.WALSegment > 16<<20 { // the default; these may not be smaller than a few segments
		s["min_wal_size"] = fmt.Sprintf("%dMB", 2*c.WALSegment>>20)
		s["max_wal_size"] = fmt.Sprintf("%dMB", max(1<<10, 4*c.WALSegment>>20))
	}
	return s
}

// remove removes what the last server left, and what is about other servers.
func (p *preparation) remove(volume, data *os.Root) error {
	for _, name := range []string{
		"postmaster.pid", "postmaster.opts", "current_logfiles", "backup_manifest",
		"recovery.conf", "recovery.done", // servers refuse to start with the former
	} {
		if err := data.RemoveAll(name); err != nil {
			return err
		}
	}
	// These may be links to directories on the volume that are not in this one.
	slots, err := empty(volume, path.Join(p.req.Volume.DataDir, "pg_replslot"))
	if err != nil {
		return err
	}
	for _, slot := range slots {
		p.defused("replication slot " + strconv.Quote(slot))
	}
	// What production did is in its logs, and in what pg_stat_statements keeps.
	for _, dir := range []string{"log", "pg_log", "pg_stat", "pg_stat_tmp"} {
		entries, err := empty(volume, path.Join(p.req.Volume.DataDir, dir))
		if err != nil {
			return err
		}
		if len(entries) > 0 {
			p.defused("logs and statistics in " + dir)
		}
	}
	return nil
}

// empty removes all that is in a directory of the volume, and returns its names.
func empty(volume *os.Root, dir string) ([]string, error) {
	entries, err := names(volume, dir)
	if err != nil {
		return nil, err
	}
	for _, entry := range entries {
		if err := volume.RemoveAll(path.Join(dir, entry)); err != nil {
			return nil, err
		}
	}
	return entries, nil
}

// secrets removes production's keys and rules of access: a clone's user can read
// all files of the clone.
func (p *preparation) secrets(volume, data *os.Root) error {
	key := "server.key"
	if found, ok := p.source["ssl_key_file"]; ok && filepath.IsLocal(found) {
		key = found
	}
	file := path.Join(p.req.Volume.DataDir, key)
	info, err := volume.Lstat(file)
	switch {
	case errors.Is(err, fs.ErrNotExist), err == nil && info.IsDir():
	case err != nil:
		return err
	default:
		p.defused("private key " + key)
		if err := volume.Remove(file); err != nil {
			return err
		}
	}
	for _, name := range []string{hbaFile, identFile} {
		if err := data.RemoveAll(name); err != nil {
			return err
		}
	}
	return nil
}

// signals ends the data's life as a standby.
func (p *preparation) signals(_, data *os.Root) error {
	for _, name := range []string{"standby.signal", "recovery.signal"} {
		if err := data.RemoveAll(name); err != nil {
			return err
		}
	}
	if !p.req.Facts.Standby {
		return nil
	}
	p.defused("standby: promoted")
	return writeFile(data, "recovery.signal", "", p.req.Facts.Owner)
}

// hbaRules let us in without a password through the admin socket, which only
// the data's owner can reach, and users with theirs. Replication out of a clone
// is a use like any other.
const hbaRules = `# Written by cloned. The socket is in a directory that only its owner may enter.
local all         ` + role + ` trust
local all         all    reject
host  all         all    all  scram-sha-256
host  replication all    all  scram-sha-256
`

// prepareHBARules let us in as anybody, while nobody but us can get there.
const (
	prepareHBAFile  = "prepare_hba.conf"
	prepareHBARules = "local all all trust\n"
)

// own makes the directory that is ours.
func (p *preparation) own(volume, _ *os.Root) error {
	owner := p.req.Facts.Owner
	for _, dir := range []string{ownDir, runDir} {
		if err := makeDir(volume, dir, owner); err != nil {
			return err
		}
	}
	for name, content := range map[string]string{hbaFile: hbaRules, prepareHBAFile: prepareHBARules, identFile: ""} {
		if err := writeFile(volume, path.Join(ownDir, name), content, owner); err != nil {
			return err
		}
	}
	return nil
}

// rewriteConf writes the settings again, after some were taken out.
func (p *preparation) rewriteConf() error {
	err := p.within(func(_, data *os.Root) error { return p.writeConf(data) })
	if err != nil {
		return errs.New(errs.Internal, "VOLUME", "writing the settings again: %w", err)
	}
	return nil
}
