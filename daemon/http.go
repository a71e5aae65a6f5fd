package daemon

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/cloned-db/cloned/errs"
	"github.com/cloned-db/cloned/internal/address"
)

// newHTTP makes the server of /metrics, /healthz (the process serves) and
// /readyz (ready returns nil). None of them tells a secret or changes anything.
func newHTTP(reg *prometheus.Registry, log *slog.Logger, ready func() error) *http.Server {
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(reg, promhttp.HandlerOpts{
		Registry: reg,
		ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelError),
	}))
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { answer(w, nil) })
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) { answer(w, ready()) })
	return &http.Server{
		Handler:           mux,
		ReadHeaderTimeout: 10 * time.Second,
		IdleTimeout:       2 * time.Minute,
		ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelDebug),
	}
}

func answer(w http.ResponseWriter, err error) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	text := "ok"
	if err != nil {
		w.WriteHeader(http.StatusServiceUnavailable)
		text = err.Error()
	}
	// A client that has gone away does not want the answer any more.
	_, _ = fmt.Fprintln(w, text)
}

// loopback says that only programs on this host reach host:port.
func loopback(addr string) bool { return address.Address{Network: "tcp", Addr: addr}.Loopback() }

// listenMetrics opens the address of the metrics: plain on loopback, TLS elsewhere.
func listenMetrics(ctx context.Context, addr string, certs *certificates) (net.Listener, error) {
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", addr)
	if err != nil {
		return nil, errs.New(errs.Precondition, "CANNOT_LISTEN", "listening for metrics on %s: %w", addr, err).
			WithHint("choose another address with metrics_listen, or none with \"\"")
	}
	if !loopback(addr) {
		return tls.NewListener(l, certs.strict()), nil
	}
	// It is looked at as a name, and a name can resolve to anything.
	if ip, ok := l.Addr().(*net.TCPAddr); !ok || !ip.IP.IsLoopback() {
		return nil, errors.Join(errs.Fieldf("metrics_listen", "%s is not a loopback address", addr), l.Close())
	}
	return l, nil
}

// serveHTTP serves until stop is called by ctx's end.
func serveHTTP(ctx context.Context, server *http.Server, l net.Listener) error {
	closed := make(chan error, 1)
	stop := context.AfterFunc(ctx, func() { closed <- server.Close() })
	defer stop()
	if err := server.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return <-closed
}
