package daemon

import (
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/goccy/go-yaml"

	"github.com/cloned-db/cloned/daemon/auth"
	"github.com/cloned-db/cloned/errs"
	"github.com/cloned-db/cloned/internal/need"
)

// issuer is one without fault, to whose keys oidc adds or gives others.
const issuer = "{issuer: https://x, audience: cloned, rules: [{claims: {sub: a}, role: user}]}"

func oidc(change string) string {
	text := issuer
	if key, _, _ := strings.Cut(change, ":"); strings.Contains(issuer, key+":") {
		from := strings.Index(text, key+":")
		to := from + strings.Index(text[from:], ", ")
		if key == "rules" {
			to = len(text) - 1
		}
		return "oidc:\n- " + text[:from] + change + text[to:] + "\n"
	}
	return "oidc:\n- {" + change + ", " + text[1:] + "\n"
}

// github is a configuration for GitHub with a rule about these claims.
func github(claims string) string {
	return "oidc:\n- {issuer: https://token.actions.githubusercontent.com, audience: cloned, rules: [{claims: {" + claims + "}, role: user}]}\n"
}

// TestConfigPublicIssuer: rules that say whose jobs they are for.
func TestConfigPublicIssuer(t *testing.T) {
	t.Setenv("XDG_RUNTIME_DIR", "/run/user/1")
	for _, claims := range []string{
		"repository: acme/shop", "repository: 'acme/*', ref: '*'", "repository_owner: acme", "repository_id: 17",
		"sub: 'repo:acme/shop:*'", "repository: acme/shop, ref_protected: true",
	} {
		if _, err := ParseConfig("c.yaml", []byte(github(claims))); err != nil {
			t.Errorf("%s: %v", claims, err)
		}
	}
}

// TestConfigRefuses: each broken configuration says where and why.
func TestConfigRefuses(t *testing.T) {
	t.Setenv("XDG_RUNTIME_DIR", "/run/user/1")
	for _, c := range []struct{ name, yaml, want string }{
		{"unknown key", "state_dir: /s\nliste: []\n", `c.yaml: line 2, column 1: unknown field "liste"`},
		{"unknown nested key", "storage:\n  zfs:\n    pool: tank\n", `c.yaml: line 3, column 5: zfs: unknown field "pool"`},
		{"key twice", "state_dir: /s\nstate_dir: /t\n", `c.yaml: line 2, column 1: mapping key "state_dir" already defined`},
		{"not YAML", "listen: [\n", "c.yaml: line 1, column 9: listen: sequence end token ']' not found"},
		{"a tab", "log:\n\tlevel: info\n", "c.yaml: line 2, column 1: log: found character '\t'"},
		{"a list", "- a\n", "c.yaml: line 1, column 1: sequence was used where mapping is expected"},
		{"null", "null\n", "c.yaml: line 1, column 1: null was used where mapping is expected"},
		{"two documents", "state_dir: /s\n---\nlisten: []\n", "c.yaml: line 2, column 1: a second YAML document"},
		{"relative state", "state_dir: s\n", `c.yaml: line 1, column 12: state_dir: "s" is not an absolute path`},
		{"empty state", "state_dir: \"\"\n", "state_dir: must be set"},
		{"no address", "listen: []\n", "listen: must be set"},
		{"listen is no list", "listen: unix:///s\n", "c.yaml: line 1, column 9: listen: string was used where sequence is expected"},
		{"bad address", "listen:\n  - unix:///s\n  - /s\n", `c.yaml: line 3, column 5: listen[1]: address "/s": must be unix:///`},
		{"twice", "listen: ['unix:///s', 'unix:///s']\n", "is there twice"},
		{"beyond loopback", "listen:\n- tcp://0.0.0.0:7432\n", `c.yaml: line 2, column 3: listen[0]: "tcp://0.0.0.0:7432" is not a loopback address`},
		{"no such role", "access: {users: {alice: king}}\n", `"king" is none of viewer, user, operator, admin`},
		{"no role", "access:\n  groups:\n    dev:\n", "access.groups.dev: must be a role"},
		{"no role of a certificate", "tls: {cert: /c, key: /k, client_ca: /a}\naccess: {certs: {ci: boss}}\n", `"boss" is none of viewer`},
		{"no certificate", "listen:\n- tls://0.0.0.0:7432\n", `c.yaml: line 2, column 3: listen[0]: "tls://0.0.0.0:7432" takes a certificate`},
		{"no key", "tls:\n  cert: /c\n", "tls.key: must be set, for tls.cert is"},
		{"key alone", "tls: {key: /k}\n", "tls.cert: must be set, for tls.key is"},
		{"CA alone", "tls: {client_ca: /k}\n", "tls.cert: must be set, for tls.client_ca is"},
		{"relative certificate", "tls: {cert: c, key: /k}\n", `tls.cert: "c" is not an absolute path`},
		{"certificates without a CA", "tls: {cert: /c, key: /k}\naccess: {certs: {ci: user}}\n", "tls.client_ca: must be set, for access.certs"},
		{"metrics beyond loopback", "metrics_listen: 0.0.0.0:9877\n", `c.yaml: line 1, column 17: metrics_listen: "0.0.0.0:9877" is not a loopback address`},
		{"metrics everywhere", "metrics_listen: :9877\n", `metrics_listen: ":9877" is not a loopback address`},
		{"issuer", oidc("issuer: http://x"), `oidc[0].issuer: "http://x" is not an https address`},
		{"issuer with a password", oidc("issuer: https://u:p@x"), "is not an https address"},
		{"issuer twice", "oidc:\n- " + issuer + "\n- " + issuer + "\n", "is there twice"},
		{"two without a name", "oidc:\n- " + issuer + "\n- " + strings.Replace(issuer, "https://x", "https://y", 1) + "\n", "oidc[1].name"},
		{"name of an issuer", oidc("name: 'a:b'"), `oidc[0].name: "a:b" must be`},
		{"no audience", oidc("audience: ''"), "oidc[0].audience: must be set"},
		{"relative CA", oidc("ca: x.crt"), `oidc[0].ca: "x.crt" is not an absolute path`},
		{"no rules", oidc("rules: []"), "oidc[0].rules: must be set"},
		{"no claims", oidc("rules: [{role: user}]"), "oidc[0].rules[0].claims: must be set: all tokens"},
		{"no role of a rule", oidc("rules: [{claims: {sub: x}}]"), "oidc[0].rules[0].role: must be a role"},
		{"admin by a rule", oidc("rules: [{claims: {sub: x}, role: admin}]"), "oidc[0].rules[0].role: can't be admin"},
		{"limit", oidc("rules: [{claims: {sub: x}, role: user, limits: {clones: -1}}]"), "oidc[0].rules[0].limits: must not be negative"},
		{"no such limit", oidc("rules: [{claims: {sub: x}, role: user, limits: {cpus: 1}}]"), `unknown field "cpus"`},
		{"anybody's branch", github("ref: refs/heads/main"), "rules[0].claims: https://token.actions.githubusercontent.com speaks for everybody"},
		{"any repository", github("repository: '*'"), "speaks for everybody"},
		{"any that begins so", github("repository: 'acme*'"), "speaks for everybody"},
		{"any owner", github("repository: '*/shop', ref: refs/heads/main"), "speaks for everybody"},
		{"who uses a workflow", github("job_workflow_ref: acme/ci/.github/workflows/x.yml@refs/heads/main"), "speaks for everybody"},
		{"any subject", github("sub: 'repo:*'"), "speaks for everybody"},
		{"metrics", "metrics_listen: localhost\n", `"localhost" is not host:port`},
		{"driver", "storage:\n  driver: lvm\n", `c.yaml: line 2, column 11: storage.driver: "lvm" is none of auto, zfs, btrfs, dir`},
		{"runtime", "runtime: {name: podman}\n", `c.yaml: line 1, column 17: runtime.name: "podman" is none of auto, docker, process`},
		{"both", "storage: {btrfs: {root: /r, pool_file: /f}}\n", "the volumes can live in one place only"},
		{"pool size unit", "storage:\n  btrfs: {pool_size: 10}\n", `c.yaml: line 2, column 22: pool_size: "10" is not a size such as 10GiB`},
		{"small pool", "storage: {btrfs: {pool_size: 1MiB}}\n", "must be at least 1GiB"},
		{"huge pool", "storage: {btrfs: {pool_size: 99999999TiB}}\n", "is too large"},
		{"relative dir", "storage: {dir: {root: x}}\n", `storage.dir.root: "x" is not an absolute path`},
		{"address of clones", "clones: {address: localhost}\n", `"localhost" is not an IP address`},
		{"ports", "clones:\n  ports: 20000\n", `c.yaml: line 2, column 10: ports: "20000" is not a range of ports such as 20000-29999`},
		{"ports backwards", "clones: {ports: 30000-20000}\n", "not before the first"},
		{"low ports", "clones: {ports: 80-90}\n", "at least 1024"},
		{"high ports", "clones: {ports: 65000-66000}\n", "at most 65535"},
		{"max", "clones: {max: -1}\n", "clones.max: must not be negative"},
		{"max is no number", "clones: {max: many}\n", "c.yaml: line 1, column 15: max: cannot unmarshal string"},
		{"TTL", "clones: {default_ttl: 3}\n", `"3" is not a length of time such as 24h`},
		{"negative TTL", "clones: {default_ttl: -3h}\n", `"-3h" is not a length of time`},
		{"TTL over its bound", "clones: {default_ttl: 3h, max_ttl: 2h}\n", "c.yaml: line 1, column 23: clones.default_ttl: must not be longer than max_ttl"},
		{"floor", "clones: {free_floor: much}\n", "neither a size such as 20GiB nor a part such as 5%"},
		{"floor 100", "clones: {free_floor: 100%}\n", "less than 100%"},
		{"floor NaN", "clones: {free_floor: NaN%}\n", "less than 100%"},
		{"interval", "reconcile_interval: 0s\n", "reconcile_interval: must be more than 0s"},
		{"memory that can't be counted", "limits: {memory: 8GiB}\n", "limits.memory: clones.memory must be set as well"},
		{"no principal", "limits: {principals: {ann: {clones: 1}}}\n", `limits.principals: "ann" is no principal`},
		{"rate of a golden", "limits: {goldens: {shop: {requests_per_minute: 1}}}\n", "limits.goldens.shop: requests_per_minute is for principals"},
		{"negative limit", "limits: {default: {clones: -1}}\n", "limits.default: must not be negative"},
		{"small audit file", "audit: {max_size: 1KiB}\n", "audit.max_size: must be at least 1MiB"},
		{"no audit file", "audit: {files: 0}\n", "audit.files: must be at least 1"},
		{"level", "log: {level: loud}\n", `log.level: "loud" is none of debug, info, warn, error`},
		{"format", "log: {format: xml}\n", `log.format: "xml" is none of text, json`},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := ParseConfig("c.yaml", []byte(c.yaml))
			if !errs.Is(err, errs.Invalid) || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got  %v\nwant %s", err, c.want)
			}
		})
	}
}

func TestConfigReads(t *testing.T) {
	cfg, err := ParseConfig("c.yaml", []byte(`
state_dir: /s
listen: [unix:///run/x.sock, tcp://127.0.0.1:7432, tls://0.0.0.0:7433]
socket_group: dba
access: {users: {alice: operator}, groups: {dev: viewer}, certs: {ci-17: user}}
tls: {cert: /c, key: /k, client_ca: /a}
oidc:
  - issuer: https://ci.internal
    name: ci
    audience: cloned
    ca: /ci.crt
    rules:
      - claims: {project_path: acme/shop, ref_protected: true}
        role: user
        goldens: [shop]
        limits: {clones: 5, memory: 4GiB, disk: 10GiB, max_ttl: 2h, requests_per_minute: 60}
metrics_listen: ""
storage: {driver: btrfs, btrfs: {pool_size: 1.5GiB}}
runtime: {name: docker, docker: {host: unix:///run/d.sock}}
clones: {address: "::1", ports: 5000-5001, max: 7, memory: 1GiB, default_ttl: 24h, max_ttl: 48h, free_floor: 2GiB}
limits: {memory: 8GiB, default: {clones: 3, memory: 2GiB, disk: 1GiB, max_ttl: 1h, requests_per_minute: 60}, principals: {"unix:ann": {clones: 9}}, goldens: {shop: {clones: 4}}}
undo: {for: 1h, space: 1GiB, expired: true}
audit: {max_size: 5MiB, files: 3}
reconcile_interval: 500ms
log: {level: debug, format: json}
`))
	if err != nil {
		t.Fatal(err)
	}
	want := Config{
		StateDir: "/s", Listen: []string{"unix:///run/x.sock", "tcp://127.0.0.1:7432", "tls://0.0.0.0:7433"}, SocketGroup: "dba",
		Access: AccessConfig{Users: map[string]auth.Role{"alice": auth.Operator}, Groups: map[string]auth.Role{"dev": auth.Viewer}, Certs: auth.Certs{"ci-17": auth.User}},
		TLS:    TLSConfig{Cert: "/c", Key: "/k", ClientCA: "/a"},
		OIDC: []OIDCConfig{{Issuer: "https://ci.internal", Name: "ci", Audience: "cloned", CA: "/ci.crt", Rules: []RuleConfig{{
			Claims: map[string]string{"project_path": "acme/shop", "ref_protected": "true"}, Role: auth.User, Goldens: []string{"shop"},
			Limits: LimitConfig{Clones: 5, Memory: 4 << 30, Disk: 10 << 30, MaxTTL: Duration(2 * time.Hour), RequestsPerMinute: 60},
		}}}},
		Storage: StorageConfig{Driver: "btrfs", Btrfs: BtrfsConfig{PoolSize: 3 << 29}},
		Runtime: RuntimeConfig{Name: "docker", Docker: DockerConfig{Host: "unix:///run/d.sock"}},
		Clones: ClonesConfig{Address: "::1", Ports: Ports{5000, 5001}, Max: 7, DefaultTTL: Duration(24 * time.Hour),
			MaxTTL: Duration(48 * time.Hour), FreeFloor: PoolShare{Bytes: 2 << 30}, Memory: 1 << 30},
		Limits: LimitsConfig{
			Memory:     8 << 30,
			Default:    LimitConfig{Clones: 3, Memory: 2 << 30, Disk: 1 << 30, MaxTTL: Duration(time.Hour), RequestsPerMinute: 60},
			Principals: map[string]LimitConfig{"unix:ann": {Clones: 9}}, Goldens: map[string]LimitConfig{"shop": {Clones: 4}},
		},
		Undo:              UndoConfig{For: Duration(time.Hour), Space: PoolShare{Bytes: 1 << 30}, Expired: true},
		Audit:             AuditConfig{MaxSize: 5 << 20, Files: 3},
		ReconcileInterval: Duration(500 * time.Millisecond),
		Log:               LogConfig{Level: "debug", Format: "json"},
	}
	if !reflect.DeepEqual(cfg, want) {
		t.Errorf("got  %+v\nwant %+v", cfg, want)
	}
}

func TestConfigDefaults(t *testing.T) {
	t.Setenv("XDG_RUNTIME_DIR", "/run/user/1")
	for _, empty := range []string{"", "# nothing\n", "storage:\n"} {
		cfg, err := ParseConfig("c.yaml", []byte(empty))
		if err != nil {
			t.Fatalf("%q: %v", empty, err)
		}
		if !reflect.DeepEqual(cfg, DefaultConfig()) {
			t.Errorf("%q is not the default: %+v", empty, cfg)
		}
	}
	if got := DefaultConfig().Clones.FreeFloor.Of(1000); got != 50 {
		t.Errorf("a floor of 5%% of 1000 is %d", got)
	}
}

func TestLoadConfig(t *testing.T) {
	absent := filepath.Join(t.TempDir(), "cloned.yaml")
	if _, err := LoadConfig(absent); !errs.Is(err, errs.Invalid) {
		t.Errorf("a named file that is absent: %v", err)
	}
	if err := os.WriteFile(absent, []byte("log: {level: warn}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("XDG_RUNTIME_DIR", "/run/user/1")
	cfg, err := LoadConfig(absent)
	if err != nil || cfg.Log.Level != "warn" {
		t.Errorf("got %+v, %v", cfg.Log, err)
	}
}

// FuzzConfig: whatever the file holds, reading it ends in a configuration that
// is valid or in an error of kind Invalid.
func FuzzConfig(f *testing.F) {
	example, err := os.ReadFile("../scripts/cloned.yaml")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(example)
	f.Add([]byte("clones: {ports: 1-2, free_floor: 1e3%}\nlisten: [a, *b]\n"))
	f.Add([]byte("a: &a [*a]\n---\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		cfg, err := ParseConfig("c.yaml", data)
		if err == nil {
			err = cfg.Validate()
		}
		if err != nil && !errs.Is(err, errs.Invalid) {
			t.Fatalf("not of kind Invalid: %v", err)
		}
	})
}

// TestExampleConfig: the example shows every key, each with its default.
func TestExampleConfig(t *testing.T) {
	need.Root(t) // whose defaults they are
	data, err := os.ReadFile("../scripts/cloned.yaml")
	if err != nil {
		t.Fatal(err)
	}
	cfg, err := ParseConfig("cloned.yaml", data)
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(cfg, DefaultConfig()) {
		t.Errorf("got  %+v\nwant %+v", cfg, DefaultConfig())
	}
	var shown map[string]any
	if err := yaml.Unmarshal(data, &shown); err != nil {
		t.Fatal(err)
	}
	checkKeys(t, "", reflect.TypeFor[Config](), shown)
}

func checkKeys(t *testing.T, path string, of reflect.Type, shown map[string]any) {
	t.Helper()
	for i := range of.NumField() {
		field := of.Field(i)
		key := field.Tag.Get("yaml")
		if key == "" { // a value's own parts
			continue
		}
		value, ok := shown[key]
		if !ok {
			t.Errorf("the example does not show %s%s", path, key)
		}
		if nested, ok := value.(map[string]any); ok && field.Type.Kind() == reflect.Struct {
			checkKeys(t, path+key+".", field.Type, nested)
		}
	}
}
