package daemon

import (
	"context"
	"fmt"
	"time"

	systemd "github.com/coreos/go-systemd/v22/daemon"
)

// What the service manager is told; see sd_notify(3).
const (
	ready    = systemd.SdNotifyReady
	stopping = systemd.SdNotifyStopping
)

// notify tells the service manager, if there is one.
func notify(what string) error {
	if _, err := systemd.SdNotify(false, what); err != nil {
		return fmt.Errorf("telling the service manager %s: %w", what, err)
	}
	return nil
}

// watchdog tells the service manager, if it wants to know (WatchdogSec=), that
// the daemon is alive: that the control plane answers, which it does without
// waiting for anything outside unless it is deadlocked.
func (d *Daemon) watchdog(ctx context.Context) error {
	every, err := systemd.SdWatchdogEnabled(false)
	if err != nil || every == 0 {
		return err
	}
	tick := time.NewTicker(every / 2) // as sd_watchdog_enabled(3) advises
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
			d.plane.ListGoldens(ctx)
			if err := notify(systemd.SdNotifyWatchdog); err != nil {
				return err
			}
		}
	}
}
