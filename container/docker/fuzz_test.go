package docker

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/docker/docker/client"

	"github.com/cloned-db/cloned/container"
	"github.com/cloned-db/cloned/errs"
)

// liar answers in the Engine's place.
type liar struct {
	list, inspect []byte
	status        int
}

func (l *liar) RoundTrip(req *http.Request) (*http.Response, error) {
	w := httptest.NewRecorder()
	w.Header().Set("Content-Type", "application/json")
	answer := []byte(nil)
	switch {
	case strings.HasSuffix(req.URL.Path, "/containers/json"):
		answer = l.list
	case strings.HasSuffix(req.URL.Path, "/json"):
		answer = l.inspect
		w.WriteHeader(l.status)
	}
	w.Body.Write(answer)
	return w.Result(), nil
}

const (
	someID      = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
	someInspect = `{"Id":"` + someID + `","Config":{"Labels":{"io.cloned.instance":"t","io.cloned.id":"c-a-1","io.cloned.kind":"instance"}},` +
		`"HostConfig":{},"State":{"Status":"exited","StartedAt":"2026-01-02T03:04:05Z","ExitCode":1}}`
	someList = `[{"Id":"` + someID + `","State":"exited","Labels":{"io.cloned.instance":"t","io.cloned.id":"c-a-1","io.cloned.kind":"instance"}}]`
)

// FuzzAnswers: whatever stands in for the Engine answers, it is read as what it
// says or is an error, and never proof that nothing is there.
func FuzzAnswers(f *testing.F) {
	f.Add([]byte(someList), []byte(someInspect), 200)
	f.Add([]byte("[]"), []byte(`{"message":"No such container"}`), 404)
	f.Add([]byte("null"), []byte("null"), 200)
	f.Add([]byte("[{}]"), []byte("{}"), 200)
	f.Add([]byte(`[{"Id":""}]`), []byte(`{"Id":"../..","State":{},"Config":{},"HostConfig":{}}`), 200)
	f.Add([]byte(someList[:40]), []byte(someInspect[:40]), 500)
	l := &liar{}
	client, err := client.NewClientWithOpts(client.WithHTTPClient(&http.Client{Transport: l}), client.WithVersion(oldestAPI))
	if err != nil {
		f.Fatal(err)
	}
	rt := &Runtime{api: engine{client}, instance: "t"}
	f.Fuzz(func(t *testing.T, list, inspect []byte, status int) {
		if status < 200 || status > 599 {
			status = 200
		}
		*l = liar{list: list, inspect: inspect, status: status}
		all, err := rt.List(t.Context())
		if err == nil && len(all) == 0 && !strings.HasPrefix(strings.TrimSpace(string(list)), "[") {
			t.Errorf("%q passes for an empty list", list)
		}
		for _, i := range all {
			if i.ID == "" {
				t.Errorf("%q lists something without a name", list)
			}
		}
		in, err := rt.Inspect(t.Context(), "c-a-1")
		if errs.Is(err, errs.NotFound) && status != http.StatusNotFound && !strings.Contains(string(inspect), "Config") {
			t.Errorf("%q (%d) passes for no container: %v", inspect, status, err)
		}
		if err == nil && in.ID != "c-a-1" {
			t.Errorf("%q is %+v", inspect, in)
		}
		err = rt.Logs(t.Context(), "c-a-1", 1, false, container.NewLines(nil))
		if err != nil && errs.As(err).Reason == "" {
			t.Errorf("no reason: %v", err)
		}
	})
}

// TestDockerID: what is looked for among the host's processes is the ID of one
// container. (An empty one is in the name of every process's cgroup; that nothing
// is killed then is not for a test to try.)
func TestDockerID(t *testing.T) {
	for _, id := range []string{"", "docker", "/", someID[1:], someID + "0", strings.ToUpper(someID), someID + "\n"} {
		if isDockerID(id) {
			t.Errorf("%q passes", id)
		}
	}
	if !isDockerID(someID) {
		t.Error("an ID does not pass")
	}
}
