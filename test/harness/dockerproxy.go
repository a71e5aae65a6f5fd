package harness

import (
	"context"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// DockerProxy stands between the daemon and the Docker Engine. It is honest until
// it is told otherwise.
type DockerProxy struct {
	// Host is its address, for the setting docker.host.
	Host string

	engine http.Handler
	mu     sync.Mutex
	fault  DockerFault
	passes int
	cut    chan struct{} // closed to break off what is under way
}

// DockerFault answers a call of the Engine's API in its own way; engine would
// answer it honestly.
type DockerFault func(w http.ResponseWriter, r *http.Request, engine http.Handler)

// NewDockerProxy starts one. It ends with the test.
func NewDockerProxy(t testing.TB) *DockerProxy {
	t.Helper()
	dir, err := os.MkdirTemp("", "cloned-proxy-") // not t.TempDir: sockets need short paths
	if err != nil {
		t.Fatal(err)
	}
	socket, found := strings.CutPrefix(os.Getenv("DOCKER_HOST"), "unix://")
	if !found {
		socket = "/var/run/docker.sock"
	}
	p := &DockerProxy{Host: "unix://" + filepath.Join(dir, "sock"), fault: DockerHonest, cut: make(chan struct{})}
	p.engine = &httputil.ReverseProxy{
		Rewrite:       func(r *httputil.ProxyRequest) { r.SetURL(&url.URL{Scheme: "http", Host: "engine"}) },
		FlushInterval: -1,
		ErrorLog:      log.New(io.Discard, "", 0),
		Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", socket)
		}},
	}
	listener, err := net.Listen("unix", strings.TrimPrefix(p.Host, "unix://"))
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: p, ErrorLog: log.New(io.Discard, "", 0)}
	ended := make(chan struct{})
	go func() { server.Serve(listener); close(ended) }()
	t.Cleanup(func() {
		p.Become(DockerHonest)
		p.Cut()
		server.Close()
		<-ended
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	return p
}

// Become has calls from now on answered by the fault.
func (p *DockerProxy) Become(f DockerFault) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.fault = f
}

// Cut breaks off the calls that are under way.
func (p *DockerProxy) Cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	close(p.cut)
	p.cut = make(chan struct{})
}

// Passes is how many passes of the daemon have begun: each first looks at its network.
func (p *DockerProxy) Passes() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.passes
}

// ServeHTTP implements http.Handler.
func (p *DockerProxy) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	p.mu.Lock()
	if r.Method == http.MethodGet && strings.Contains(r.URL.Path, "/networks/") {
		p.passes++
	}
	fault, cut := p.fault, p.cut
	p.mu.Unlock()
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	go func() {
		select {
		case <-cut:
			cancel()
		case <-ctx.Done():
		}
	}()
	fault(w, r.WithContext(ctx), p.engine)
}

func isContainerList(r *http.Request) bool {
	return r.Method == http.MethodGet && strings.HasSuffix(r.URL.Path, "/containers/json")
}

// isContainerLook is a look at one container.
func isContainerLook(r *http.Request) bool {
	return r.Method == http.MethodGet && strings.Contains(r.URL.Path, "/containers/") && strings.HasSuffix(r.URL.Path, "/json") && !isContainerList(r)
}

// isStream is a call that is answered for as long as something lasts.
func isStream(r *http.Request) bool {
	for _, last := range []string{"/events", "/wait", "/attach", "/logs"} {
		if strings.HasSuffix(r.URL.Path, last) {
			return true
		}
	}
	return false
}

// DockerHonest answers as the Engine does.
func DockerHonest(w http.ResponseWriter, r *http.Request, engine http.Handler) {
	engine.ServeHTTP(w, r)
}

// DockerAway breaks each connection.
func DockerAway(http.ResponseWriter, *http.Request, http.Handler) { panic(http.ErrAbortHandler) }

// DockerHangs takes calls and never answers them.
func DockerHangs(_ http.ResponseWriter, r *http.Request, _ http.Handler) {
	<-r.Context().Done()
	panic(http.ErrAbortHandler)
}

// DockerSlow answers late.
func DockerSlow(w http.ResponseWriter, r *http.Request, engine http.Handler) {
	time.Sleep(300 * time.Millisecond)
	engine.ServeHTTP(w, r)
}

// DockerFails fails each call.
func DockerFails(w http.ResponseWriter, _ *http.Request, _ http.Handler) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(http.StatusInternalServerError)
	io.WriteString(w, `{"message":"the disk is made of cheese"}`)
}

// DockerNonsense answers what no Engine does.
func DockerNonsense(w http.ResponseWriter, _ *http.Request, _ http.Handler) {
	w.Header().Set("Content-Type", "text/html")
	io.WriteString(w, "<html><body>It works!</body></html>")
}

// DockerNoPage says of everything that it is not there, as a web server does.
func DockerNoPage(w http.ResponseWriter, r *http.Request, _ http.Handler) { http.NotFound(w, r) }

// DockerHalf breaks off in the middle of each answer.
func DockerHalf(w http.ResponseWriter, r *http.Request, engine http.Handler) {
	if isStream(r) {
		panic(http.ErrAbortHandler)
	}
	answer := httptest.NewRecorder()
	engine.ServeHTTP(answer, r)
	w.Header().Set("Content-Type", answer.Header().Get("Content-Type"))
	w.WriteHeader(answer.Code)
	w.Write(answer.Body.Bytes()[:answer.Body.Len()/2])
	w.(http.Flusher).Flush()
	panic(http.ErrAbortHandler)
}

// DockerLosesAnswers has the Engine do what changes something, and says nothing.
func DockerLosesAnswers(w http.ResponseWriter, r *http.Request, engine http.Handler) {
	if r.Method == http.MethodGet || r.Method == http.MethodHead || isStream(r) {
		engine.ServeHTTP(w, r)
		return
	}
	engine.ServeHTTP(httptest.NewRecorder(), r)
	panic(http.ErrAbortHandler)
}

// DockerListsNone says that there are no containers, and is honest otherwise.
func DockerListsNone(w http.ResponseWriter, r *http.Request, engine http.Handler) {
	if !isContainerList(r) {
		engine.ServeHTTP(w, r)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	io.WriteString(w, "[]")
}

// DockerKnowsNone says of each container, in the Engine's own words, that there is
// no such one.
func DockerKnowsNone(w http.ResponseWriter, r *http.Request, engine http.Handler) {
	if !isContainerLook(r) {
		DockerListsNone(w, r, engine)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(http.StatusNotFound)
	io.WriteString(w, `{"message":"No such container: of this name"}`)
}
