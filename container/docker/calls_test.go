package docker

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/docker/docker/client"

	"github.com/cloned-db/cloned/container"
	"github.com/cloned-db/cloned/errs"
)

// roundTrip answers in the Engine's place.
type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// answered makes a Runtime of which f answers the calls.
func answered(t *testing.T, f roundTrip) *Runtime {
	t.Helper()
	c, err := client.NewClientWithOpts(client.WithHTTPClient(&http.Client{Transport: f}), client.WithVersion(oldestAPI))
	if err != nil {
		t.Fatal(err)
	}
	return &Runtime{api: engine{c}, instance: "t"}
}

// TestNothingHangs: an Engine that takes a call and never answers holds nobody for
// ever, nor does one that stops in the middle of its answer.
func TestNothingHangs(t *testing.T) {
	silent := func(r *http.Request) (*http.Response, error) {
		<-r.Context().Done()
		return nil, r.Context().Err()
	}
	halting := func(r *http.Request) (*http.Response, error) {
		in, out := io.Pipe()
		go func() {
			io.WriteString(out, `[{"Id": "`)
			<-r.Context().Done()
			out.CloseWithError(r.Context().Err())
		}()
		return &http.Response{StatusCode: 200, Header: http.Header{"Content-Type": {"application/json"}}, Body: in, Request: r}, nil
	}
	for name, answer := range map[string]roundTrip{"silent": silent, "halting": halting} {
		for what, call := range map[string]func(context.Context, *Runtime) error{
			"Check":   func(ctx context.Context, r *Runtime) error { return r.Check(ctx) },
			"List":    func(ctx context.Context, r *Runtime) error { _, err := r.List(ctx); return err },
			"Inspect": func(ctx context.Context, r *Runtime) error { _, err := r.Inspect(ctx, "c-a-1"); return err },
			"Stop":    func(ctx context.Context, r *Runtime) error { return r.Stop(ctx, "c-a-1", time.Second) },
			"Remove":  func(ctx context.Context, r *Runtime) error { return r.Remove(ctx, "c-a-1") },
			"Logs":    func(ctx context.Context, r *Runtime) error { return r.Logs(ctx, "c-a-1", 1, false, io.Discard) },
			"EnsureImage": func(ctx context.Context, r *Runtime) error {
				_, err := r.EnsureImage(ctx, "postgres")
				return err
			},
			"network": func(ctx context.Context, r *Runtime) error { return r.ensureNetwork(ctx) },
			"create": func(ctx context.Context, r *Runtime) error {
				_, err := r.create(ctx, "c-a-1", "postgres", settings{})
				return err
			},
			"start":  func(ctx context.Context, r *Runtime) error { return r.start(ctx, someID, container.Spec{ID: "c-a-1"}) },
			"remove": func(ctx context.Context, r *Runtime) error { return r.remove(ctx, someID, "c-a-1") },
		} {
			if name == "halting" && (what == "Check" || what == "start" || what == "remove") {
				continue // of its answer nothing is read
			}
			t.Run(name+"/"+what, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					begin := time.Now()
					err := call(t.Context(), answered(t, answer))
					e := errs.As(err)
					if !errs.Is(err, errs.Unavailable) || e.Reason != "DOCKER_UNAVAILABLE" || !e.Retryable || e.Hint == "" {
						t.Errorf("%v", err)
					}
					if took := time.Since(begin); took > pullIdle+lookTimeout {
						t.Errorf("it held on for %v", took)
					}
				})
			})
		}
	}
}

// TestSilentTask: a task of which the Engine says nothing any more, or whose end
// it has kept to itself, is given up; one that runs for long is not.
func TestSilentTask(t *testing.T) {
	state := func(status string) roundTrip {
		running := "false"
		if status == "running" {
			running = "true"
		}
		body := strings.Replace(someInspect, `"Status":"exited"`, `"Status":"`+status+`","Running":`+running, 1)
		return func(r *http.Request) (*http.Response, error) {
			return &http.Response{StatusCode: 200, Header: http.Header{"Content-Type": {"application/json"}}, Body: io.NopCloser(strings.NewReader(body)), Request: r}, nil
		}
	}
	for name, test := range map[string]struct {
		answer roundTrip
		given  bool
	}{
		"silent":  {func(r *http.Request) (*http.Response, error) { <-r.Context().Done(); return nil, r.Context().Err() }, true},
		"cut":     {func(*http.Request) (*http.Response, error) { return nil, io.ErrUnexpectedEOF }, true},
		"ended":   {state("exited"), true},
		"running": {state("running"), false},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithCancelCause(t.Context())
				go answered(t, test.answer).watchTask(ctx, someID, cancel)
				time.Sleep(10 * time.Minute)
				if given := errors.Is(context.Cause(ctx), errSilent); given != test.given {
					t.Errorf("given up: %v", given)
				}
				cancel(nil)
			})
		})
	}
}

// TestAnotherSaysNotFound: that a proxy knows no such page does not mean that the
// Engine knows no such container.
func TestAnotherSaysNotFound(t *testing.T) {
	for _, body := range []string{"<html>404 Not Found</html>", `{"message":"page not found"}`, ""} {
		rt := answered(t, func(r *http.Request) (*http.Response, error) {
			return &http.Response{StatusCode: 404, Header: http.Header{"Content-Type": {"application/json"}}, Body: io.NopCloser(strings.NewReader(body)), Request: r}, nil
		})
		_, err := rt.Inspect(t.Context(), "c-a-1")
		_, create := rt.create(t.Context(), "c-a-1", "postgres", settings{})
		_, ensure := rt.EnsureImage(t.Context(), "postgres")
		for what, err := range map[string]error{
			"Inspect": err, "Remove": rt.Remove(t.Context(), "c-a-1"), "remove": rt.remove(t.Context(), someID, "c-a-1"),
			"Stop": rt.Stop(t.Context(), "c-a-1", time.Second), "create": create, "EnsureImage": ensure,
		} {
			if !errs.Is(err, errs.Unavailable) {
				t.Errorf("%s of %q: %v", what, body, err)
			}
		}
	}
}
