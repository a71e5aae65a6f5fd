package crash

import (
	"bufio"
	"context"
	"flag"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/signal"
	"syscall"
	"testing"
	"time"

	"github.com/cloned-db/cloned/daemon"
	"github.com/cloned-db/cloned/errs"
	"github.com/cloned-db/cloned/test/harness"
)

// daemonVariable makes this program a daemon, which asks the socket that it names
// at each outside step.
const daemonVariable = "CLONED_CRASH_DAEMON"

func TestMain(m *testing.M) {
	if socket := os.Getenv(daemonVariable); socket != "" {
		if err := serve(socket, os.Args[2:]); err != nil {
			fmt.Fprintln(os.Stderr, "cloned:", err)
			os.Exit(1)
		}
		return
	}
	os.Exit(harness.Main(m))
}

// serve is "cloned serve", with faults.
func serve(socket string, args []string) error {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	flags := flag.NewFlagSet("serve", flag.ContinueOnError)
	config := flags.String("config", "", "")
	adopt := flags.Bool("adopt", false, "")
	if err := flags.Parse(args); err != nil {
		return err
	}
	cfg, err := daemon.LoadConfig(*config)
	if err != nil {
		return err
	}
	cfg.ReconcileInterval = daemon.Duration(passEvery)
	log := slog.New(slog.NewJSONHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelDebug}))
	fault := func(point string) error { return ask(socket, point) }
	d, err := daemon.Open(ctx, cfg, daemon.Options{Version: "crash", Log: log, Adopt: *adopt, Fault: fault})
	if err != nil {
		return err
	}
	return d.Serve(ctx)
}

// passEvery is short: what failed in the background is tried again then.
const passEvery = 500 * time.Millisecond

// What the test answers at a point.
const (
	goOn = "go"
	fail = "fail"
	die  = "die"
)

// ask asks the test what is to happen at a point, and has it happen.
func ask(socket, point string) error {
	conn, err := net.Dial("unix", socket)
	if err != nil {
		return err
	}
	defer conn.Close()
	if _, err := fmt.Fprintln(conn, os.Getpid(), point); err != nil {
		return err
	}
	answer := bufio.NewScanner(conn)
	answer.Scan()
	switch answer.Text() {
	case goOn:
		return nil
	case fail:
		return errs.New(errs.Unavailable, "INJECTED", "injected at %s", point)
	case die:
		if err := syscall.Kill(os.Getpid(), syscall.SIGKILL); err != nil {
			return err
		}
		select {} // the signal ends this
	}
	return errs.New(errs.Internal, "TEST", "the test does not say what is to happen at %s: %v", point, answer.Err())
}
