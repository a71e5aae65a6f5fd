package daemon

import (
	"os"
	"path/filepath"
	"time"

	"github.com/cloned-db/cloned/daemon/auth"
	"github.com/cloned-db/cloned/internal/address"
)

// Config is the daemon's configuration, as written in YAML. scripts/cloned.yaml
// shows every key with its default.
type Config struct {
	// StateDir holds the records, the installation's identity and key and,
	// where the storage driver needs a place, the volumes. Default:
	// /var/lib/cloned for root, $XDG_STATE_HOME/cloned otherwise.
	StateDir string `yaml:"state_dir"`
	// Listen are the addresses of the API: unix:///path, tls://host:PORT,
	// tcp://127.0.0.1:PORT.
	// Default: unix:///run/cloned/cloned.sock for root,
	// unix://$XDG_RUNTIME_DIR/cloned/cloned.sock otherwise. Who comes by TCP has to
	// show a token, or a certificate if it is TLS.
	Listen []string `yaml:"listen"`
	// SocketGroup is the group that owns the unix sockets. Its members have the
	// role user, unless access gives them another. Default: none.
	SocketGroup string       `yaml:"socket_group"`
	Access      AccessConfig `yaml:"access"`
	TLS         TLSConfig    `yaml:"tls"`
	// OIDC are the issuers whose identity tokens are taken. Default: none.
	OIDC []OIDCConfig `yaml:"oidc"`
	// MetricsListen is where Prometheus finds /metrics, and supervisors
	// /healthz and /readyz: host:port; empty for nowhere. On loopback it is plain
	// HTTP; elsewhere TLS, for which clients need a certificate if there is a
	// client_ca.
	MetricsListen string `yaml:"metrics_listen"`

	Storage StorageConfig `yaml:"storage"`
	Runtime RuntimeConfig `yaml:"runtime"`
	Clones  ClonesConfig  `yaml:"clones"`
	Limits  LimitsConfig  `yaml:"limits"`
	Undo    UndoConfig    `yaml:"undo"`
	Audit   AuditConfig   `yaml:"audit"`

	// ReconcileInterval is the time between two comparisons of what is wanted
	// with what is there.
	ReconcileInterval Duration  `yaml:"reconcile_interval"`
	Log               LogConfig `yaml:"log"`
}

// AccessConfig gives users and groups of this host their roles, by name or number,
// for the unix sockets. Of all that fit one, the highest holds. Root and the
// daemon's own user are admin.
type AccessConfig struct {
	Users  map[string]auth.Role `yaml:"users"`
	Groups map[string]auth.Role `yaml:"groups"`
	// Certs are the roles of clients' certificates, by common name.
	Certs auth.Certs `yaml:"certs"`
}

// TLSConfig names the files, in PEM form, of the server's certificate and of those
// that sign clients' certificates. They are read again when they change.
type TLSConfig struct {
	// Cert is the server's certificate, with those between it and its CA after it.
	Cert string `yaml:"cert"`
	Key  string `yaml:"key"`
	// ClientCA are the CAs of clients' certificates; without one there are none.
	ClientCA string `yaml:"client_ca"`
}

// StorageConfig says where volumes live. With driver "auto" the best that
// works is taken at the first start, and kept.
type StorageConfig struct {
	// Driver is auto, zfs, btrfs or dir.
	Driver string      `yaml:"driver"`
	ZFS    ZFSConfig   `yaml:"zfs"`
	Btrfs  BtrfsConfig `yaml:"btrfs"`
	Dir    DirConfig   `yaml:"dir"`
}

// ZFSConfig is for the driver zfs.
type ZFSConfig struct {
	// Parent is the dataset under which the driver makes its own; it is made
	// if it is absent. Default: POOL/cloned if the host has exactly one pool.
	Parent string `yaml:"parent"`
}

// BtrfsConfig is for the driver btrfs: a directory on a btrfs filesystem, or a
// pool in a file.
type BtrfsConfig struct {
	// Root is a directory on btrfs. Default: STATE_DIR/volumes if that is on
	// btrfs, otherwise the mounted pool.
	Root string `yaml:"root"`
	// PoolFile is the file that a pool is made in and mounted from, if there is
	// no Root. Default: STATE_DIR/pool.btrfs.
	PoolFile string `yaml:"pool_file"`
	// PoolSize is how large a new pool is. The file is sparse: it takes what
	// the pool holds. Default: half of what is free beside it.
	PoolSize Size `yaml:"pool_size"`
}

// DirConfig is for the driver dir.
type DirConfig struct {
	// Root is a directory on any filesystem. Default: STATE_DIR/volumes.
	Root string `yaml:"root"`
}

// RuntimeConfig says what runs the databases. With name "auto" it is Docker if
// an engine answers at the first start, otherwise processes; the choice is kept.
type RuntimeConfig struct {
	// Name is auto, docker or process.
	Name   string       `yaml:"name"`
	Docker DockerConfig `yaml:"docker"`
}

// DockerConfig is for the runtime docker.
type DockerConfig struct {
	// Host is the engine's address, e.g. unix:///run/docker.sock. Default:
	// $DOCKER_HOST, otherwise the engine's own default.
	Host string `yaml:"host"`
}

// ClonesConfig bounds clones.
type ClonesConfig struct {
	// Address is the IP address on which the clones' ports are published.
	Address string `yaml:"address"`
	// Ports is the range that clones' ports are taken from: FIRST-LAST.
	Ports Ports `yaml:"ports"`
	// Max is how many clones there may be; 0 for as many as there are ports.
	Max int `yaml:"max"`
	// Memory is the limit of each clone whose golden has none; 0 for none.
	Memory Size `yaml:"memory"`
	// DefaultTTL is the life of a clone whose request names none; 0s for ever.
	DefaultTTL Duration `yaml:"default_ttl"`
	// MaxTTL is the longest life that may be asked for; 0s for no bound.
	MaxTTL Duration `yaml:"max_ttl"`
	// FreeFloor is the pool's free space below which nothing new is made:
	// bytes ("20GiB") or a part of the pool ("5%").
	FreeFloor PoolShare `yaml:"free_floor"`
}

// LimitsConfig bounds what clones take, besides ClonesConfig.
type LimitsConfig struct {
	// Memory is what all clones' memory limits may add up to; 0 for no bound.
	Memory Size `yaml:"memory"`
	// Default is for each principal of role user that has no limits of its own, as
	// tokens may.
	Default LimitConfig `yaml:"default"`
	// Principals are by name, such as unix:ann, and hold instead of a token's own.
	Principals map[string]LimitConfig `yaml:"principals"`
	// Goldens bound the clones of a golden, whoever made them.
	Goldens map[string]LimitConfig `yaml:"goldens"`
}

// LimitConfig bounds what somebody, or a golden, may have; 0 is no bound.
type LimitConfig struct {
	Clones int `yaml:"clones"`
	// Memory is the sum of the clones' memory limits.
	Memory Size `yaml:"memory"`
	// Disk is what each clone may grow by; only on ZFS.
	Disk Size `yaml:"disk"`
	// MaxTTL is the longest life of a clone.
	MaxTTL Duration `yaml:"max_ttl"`
	// RequestsPerMinute is how often changes may be asked for; not for goldens.
	RequestsPerMinute int `yaml:"requests_per_minute"`
}

// UndoConfig says what is kept of clones that are reset or deleted, for
// clonectl undo. The oldest goes first, and all of it before a request is
// refused for want of space.
type UndoConfig struct {
	// For is how long it is kept; 0s for not at all.
	For Duration `yaml:"for"`
	// Space is what all of it may take: bytes ("20GiB") or a part of the pool ("10%").
	Space PoolShare `yaml:"space"`
	// Expired: clones whose time is over are kept too.
	Expired bool `yaml:"expired"`
}

// AuditConfig says how much of the audit log is kept, in STATE_DIR/audit.
type AuditConfig struct {
	// MaxSize is how large a file may become before it is put aside, in whole MiB.
	MaxSize Size `yaml:"max_size"`
	// Files is how many of those put aside are kept.
	Files int `yaml:"files"`
}

// LogConfig says what is logged, to standard error.
type LogConfig struct {
	// Level is debug, info, warn or error.
	Level string `yaml:"level"`
	// Format is text or json.
	Format string `yaml:"format"`
}

// Names of drivers and runtimes in the configuration.
const (
	Auto          = "auto"
	DriverZFS     = "zfs"
	DriverBtrfs   = "btrfs"
	DriverDir     = "dir"
	RuntimeDocker = "docker"
	RuntimeProc   = "process"
)

// DefaultConfig returns the configuration that holds for keys that the file
// does not have, for the user that this process runs as. A user without a home
// directory or $XDG_RUNTIME_DIR has no default for what lies there.
func DefaultConfig() Config {
	cfg := Config{
		Access:        AccessConfig{Users: map[string]auth.Role{}, Groups: map[string]auth.Role{}, Certs: auth.Certs{}},
		OIDC:          []OIDCConfig{},
		MetricsListen: "127.0.0.1:9877",
		Storage:       StorageConfig{Driver: Auto},
		Runtime:       RuntimeConfig{Name: Auto},
		Clones: ClonesConfig{
			Address: "127.0.0.1",
			// Below the ports that Linux gives to outgoing connections, 32768 on
			// (ip_local_port_range).
			Ports:     Ports{First: 20000, Last: 29999},
			FreeFloor: PoolShare{Percent: 5},
		},
		Limits:            LimitsConfig{Principals: map[string]LimitConfig{}, Goldens: map[string]LimitConfig{}},
		Undo:              UndoConfig{For: Duration(24 * time.Hour), Space: PoolShare{Percent: 10}},
		Audit:             AuditConfig{MaxSize: 100 << 20, Files: 10},
		ReconcileInterval: Duration(10 * time.Second),
		Log:               LogConfig{Level: "info", Format: "text"},
	}
	if os.Geteuid() == 0 {
		cfg.StateDir = "/var/lib/cloned"
		cfg.Listen = []string{"unix://" + address.SystemSocket}
		return cfg
	}
	cfg.StateDir = userDir("XDG_STATE_HOME", ".local/state")
	if socket := address.UserSocket(); socket != "" {
		cfg.Listen = []string{"unix://" + socket}
	}
	return cfg
}

// DefaultConfigFile returns the path of the configuration that is read, if it
// exists, when none is named.
func DefaultConfigFile() string {
	if os.Geteuid() == 0 {
		return "/etc/cloned/cloned.yaml"
	}
	if dir := userDir("XDG_CONFIG_HOME", ".config"); dir != "" {
		return filepath.Join(dir, "cloned.yaml")
	}
	return ""
}

// userDir returns our folder in one of the XDG base directories, or "" for a
// user without a home.
func userDir(variable, fallback string) string {
	if dir := os.Getenv(variable); filepath.IsAbs(dir) {
		return filepath.Join(dir, "cloned")
	}
	home, err := os.UserHomeDir()
	if err != nil {
		return ""
	}
	return filepath.Join(home, fallback, "cloned")
}
