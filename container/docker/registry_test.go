package docker

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/docker/docker/api/types/registry"
	"github.com/docker/docker/client"

	"github.com/cloned-db/cloned/errs"
)

// TestRegistryAuth: each registry gets its own credentials and no other's.
func TestRegistryAuth(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("DOCKER_CONFIG", dir)
	write := func(content string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, "config.json"), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	encode := func(text string) string { return base64.StdEncoding.EncodeToString([]byte(text)) }
	write(`{"auths": {"registry.example:5000": {"auth": "` + encode("ann:s3cret") + `"}, "https://index.docker.io/v1/": {"auth": "` + encode("bob:other") + `"}}}`)
	for ref, want := range map[string]string{
		"registry.example:5000/pg:15": "ann s3cret",
		"postgres:15":                 "bob other",
		"elsewhere.example/pg":        "",
	} {
		got, err := registryAuth(ref)
		if err != nil {
			t.Fatalf("%s: %v", ref, err)
		}
		var auth registry.AuthConfig
		if got != "" {
			raw, err := base64.URLEncoding.DecodeString(got)
			if err == nil {
				err = json.Unmarshal(raw, &auth)
			}
			if err != nil {
				t.Fatal(err)
			}
		}
		if have := strings.TrimSpace(auth.Username + " " + auth.Password); have != want {
			t.Errorf("%s gets %q, want %q", ref, have, want)
		}
	}
	if _, err := registryAuth("no image at all"); !errs.Is(err, errs.Invalid) {
		t.Errorf("a bad reference: %v", err)
	}
	write(`{"auths": {"registry.example": {"auth": "s3cret that is no base64`)
	if _, err := registryAuth("registry.example/pg"); !errs.Is(err, errs.Precondition) || strings.Contains(err.Error(), "s3cret") {
		t.Errorf("a broken file: %v", err)
	}
}

// TestPullAuth: a pull shows them to the Engine, in the header that it expects.
func TestPullAuth(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("DOCKER_CONFIG", dir)
	auths := `{"auths": {"registry.example": {"auth": "` + base64.StdEncoding.EncodeToString([]byte("ann:s3cret")) + `"}}}`
	if err := os.WriteFile(filepath.Join(dir, "config.json"), []byte(auths), 0o600); err != nil {
		t.Fatal(err)
	}
	var header string
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasSuffix(r.URL.Path, "/images/create") {
			header = r.Header.Get(registry.AuthHeader)
		}
	}))
	defer server.Close()
	api, err := client.NewClientWithOpts(client.WithHost("tcp://"+server.Listener.Addr().String()), client.WithVersion("1.41"))
	if err != nil {
		t.Fatal(err)
	}
	defer api.Close()
	r := &Runtime{api: engine{api}}
	if err := r.pull(context.Background(), "registry.example/pg:15"); err != nil {
		t.Fatal(err)
	}
	want, err := registryAuth("registry.example/pg:15")
	if err != nil || want == "" || header != want {
		t.Errorf("the Engine got %q, want %q, %v", header, want, err)
	}
}
