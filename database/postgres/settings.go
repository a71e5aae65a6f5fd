package postgres

import (
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/cloned-db/cloned/container"
	"github.com/cloned-db/cloned/errs"
)

// instanceSetting is the custom setting by which an instance says who it is.
const instanceSetting = "cloned.instance_id"

// preload is the setting that names the libraries to load at start.
const preload = "shared_preload_libraries"

// given is a setting of ours, for the major versions that have it: a server
// refuses to start with one that it does not know.
type given struct {
	name, value string
	since       int // 0: all that we support
	until       int // 0: all that we support
}

// harmless keep a clone harmless, and our ways into it open. They are given on
// the command line, which nothing in the data directory and no ALTER SYSTEM
// overrides. Where the value depends on the instance, it is set in guards.
var harmless = []given{
	// Where it listens, and who gets in.
	{name: "data_directory"},
	{name: "hba_file"},
	{name: "ident_file"},
	{name: "listen_addresses"},
	{name: "port"},
	{name: "unix_socket_directories"},
	{name: "unix_socket_group"},
	{name: "unix_socket_permissions", value: "0700"},
	{name: "password_encryption", value: "scram-sha-256"},
	{name: "ssl", value: "off"},
	{name: instanceSetting},

	// No archiving over production's archive, no reading from it.
	{name: "archive_mode", value: "off"},
	{name: "archive_command"},
	{name: "archive_library", since: 15},
	{name: "archive_cleanup_command"},
	{name: "recovery_end_command"},
	{name: "restore_command"},

	// No replication towards or from production.
	{name: "primary_conninfo"},
	{name: "primary_slot_name"},
	{name: "promote_trigger_file", until: 15},
	{name: "recovery_target"},
	{name: "recovery_target_lsn"},
	{name: "recovery_target_name"},
	{name: "recovery_target_time"},
	{name: "recovery_target_xid"},
	{name: "synchronous_standby_names"},
	{name: "sync_replication_slots", value: "off", since: 17},
	{name: "synchronized_standby_slots", since: 17},

	// No code but the image's.
	{name: "dynamic_library_path", value: "$libdir"},
	{name: "extension_control_path", value: "$system", since: 18},
	{name: "jit_provider", value: "llvmjit"},
	{name: "local_preload_libraries"},
	{name: "oauth_validator_libraries", since: 18},
	{name: "session_preload_libraries"},
	{name: "ssl_passphrase_command"},

	// Its log is the instance's output.
	{name: "log_destination", value: "stderr"},
	{name: "logging_collector", value: "off"},
	{name: "stats_temp_directory", value: "pg_stat_tmp", until: 14},
}

// modest are what a clone has instead of what production has, if the golden's
// own settings do not say otherwise.
var modest = []given{
	{name: "shared_buffers", value: "128MB"},
	{name: "maintenance_work_mem", value: "64MB"},
	{name: "huge_pages", value: "off"},
	{name: "io_method", value: "worker", since: 18}, // io_uring is not to be had in a container
	{name: "recovery_init_sync_method", value: "syncfs", since: 14},
	{name: "log_line_prefix", value: "%m [%p] "},

	// Each hundred connections cost 2 ms at start.
	{name: "max_connections", value: "100"},
	{name: "superuser_reserved_connections", value: "3"},
	{name: "reserved_connections", value: "0", since: 16},

	// Recycling and zeroing segments pays on filesystems that overwrite in
	// place; on copy-on-write it takes the space twice.
	{name: "wal_recycle", value: "off"},
	{name: "wal_init_zero", value: "off"},
	{name: "wal_level", value: "replica"},
	{name: "max_wal_senders", value: "10"},
	{name: "max_replication_slots", value: "10"},
	{name: "max_wal_size", value: "1GB"},
	{name: "min_wal_size", value: "80MB"},
	{name: "wal_keep_segments", value: "0", until: 12},
	{name: "wal_keep_size", value: "0", since: 13},
	{name: "summarize_wal", value: "off", since: 17},
	{name: "checkpoint_timeout", value: "15min"},

	// Subscriptions are dropped, so that nothing needs their launcher.
	{name: "max_logical_replication_workers", value: "0"},
	// Else the first thing that each clone of an old database does is to freeze
	// all of it, and its volume becomes a full copy.
	{name: "autovacuum_freeze_max_age", value: "2000000000"},
	{name: "autovacuum_multixact_freeze_max_age", value: "2000000000"},
}

// calmSince are those of calm that not all versions have.
var calmSince = []given{
	{name: "event_triggers", value: "off", since: 17},
	{name: "extension_control_path", value: "$system", since: 18},
	{name: "idle_session_timeout", value: "0", since: 14},
	{name: "transaction_timeout", value: "0", since: 17},
}

// memory says where a server keeps shared memory that comes and goes. In the
// host's own /dev/shm it would stay behind when the server is killed; on the
// volume it goes with that.
func memory(rt container.Runtime) settings {
	if rt.Capabilities().OwnShm {
		return nil
	}
	return settings{"dynamic_shared_memory_type": "mmap"}
}

// disposable is for clones whose data need not survive a crash of the host.
var disposable = settings{"fsync": "off", "full_page_writes": "off"}

// durable is for those whose data must.
var durable = settings{"fsync": "on", "full_page_writes": "on"}

// of returns the settings that the major version has.
func of(list []given, major int) settings {
	s := settings{}
	for _, g := range list {
		if major >= g.since && (g.until == 0 || major <= g.until) {
			s[g.name] = g.value
		}
	}
	return s
}

// merge returns the layers as one; a later one wins.
func merge(layers ...settings) settings {
	all := settings{}
	for _, layer := range layers {
		maps.Copy(all, layer)
	}
	return all
}

// args writes settings as command-line options, in the order of their names.
func (s settings) args() []string {
	var out []string
	for _, name := range sorted(s) {
		out = append(out, "-c", name+"="+s[name])
	}
	return out
}

func sorted(s settings) []string { return slices.Sorted(maps.Keys(s)) }

// endpoint is where a server listens and what it is called.
type endpoint struct {
	addr string // listen_addresses; "" for none
	port int
	id   string
}

// guards are the settings of harmless for a server.
func guards(major int, p paths, at endpoint) settings {
	return merge(of(harmless, major), settings{
		"data_directory":          p.data,
		"hba_file":                p.own + "/" + hbaFile,
		"ident_file":              p.own + "/" + identFile,
		"unix_socket_directories": p.run,
		"listen_addresses":        at.addr,
		"port":                    strconv.Itoa(at.port),
		instanceSetting:           at.id,
	})
}

// preloading is the setting that loads libraries, and those that keep them calm.
func preloading(libraries []string) settings {
	s := settings{preload: strings.Join(libraries, ",")}
	if slices.Contains(libraries, "timescaledb") {
		s["timescaledb.max_background_workers"] = "0"
	}
	return s
}

// settingName is what names of settings look like; extensions' have a prefix.
var settingName = regexp.MustCompile(`^[a-z_][a-z0-9_]*(\.[a-z_][a-z0-9_]*)?$`)

// CheckSettings implements database.Engine. Whether the version has a setting,
// and takes the value, only the server knows: Prepare finds out.
func (*Engine) CheckSettings(s map[string]string) error {
	for _, name := range sorted(s) {
		field := "settings." + name
		switch {
		case !settingName.MatchString(name):
			return errs.Fieldf(field, "not the name of a setting: lower case, digits and _, perhaps a prefix with a dot")
		case strings.ContainsRune(s[name], 0):
			return errs.Fieldf(field, "the value has a NUL in it")
		case isHarmless(name):
			return errs.Fieldf(field, "can't be set: cloned sets it to keep clones harmless and within reach")
		case name == preload:
			if _, refused := loadable(splitLibraries(s[name])); len(refused) > 0 {
				return errs.Fieldf(field, "%s", strings.Join(refused, "; "))
			}
		}
	}
	return nil
}

func isHarmless(name string) bool {
	return slices.ContainsFunc(harmless, func(g given) bool { return g.name == name }) ||
		name == "config_file" || name == "external_pid_file" || // they can't be set to nothing
		strings.HasPrefix(name, "cloned.") || name == "timescaledb.max_background_workers"
}

// settingError is errs.Invalid about a setting of the golden that the server
// does not take.
func settingError(name, said string) error {
	return errs.Fieldf("settings."+name, "the server does not take it: %s", said).WithPhase(phasePrepare)
}
