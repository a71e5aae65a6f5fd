package main

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/cloned-db/cloned/client"
	clonedv1 "github.com/cloned-db/cloned/proto/cloned/v1"
)

func newStatus(a *app) *cobra.Command {
	output := ""
	cmd := &cobra.Command{
		Use: "status", Short: "Say what the daemon runs on, and what is not as it should be",
		Example: "  clonectl status", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx, c, err := a.dial(cmd.Context())
			if err != nil {
				return err
			}
			s, err := c.Host.GetStatus(ctx, &clonedv1.GetStatusRequest{})
			if err != nil {
				return err
			}
			if output == "json" {
				return a.printJSON(toJSON(s))
			}
			return a.printStatus(s)
		},
	}
	outputFlag(cmd, &output)
	return cmd
}

func (a *app) printStatus(s *clonedv1.GetStatusResponse) error {
	var clones []string
	for _, n := range s.GetClones() {
		clones = append(clones, fmt.Sprintf("%d %s", n.GetCount(), client.StateName(n.GetState())))
	}
	if len(clones) == 0 {
		clones = []string{"none"}
	}
	thin, isolated := "thin", "isolated"
	if !s.GetThin() {
		thin = "full copies, not thin"
	}
	if !s.GetIsolated() {
		isolated = "not isolated from the network"
	}
	if err := a.pairs(
		[2]string{"Daemon", s.GetVersion() + ", installation " + s.GetInstance()},
		[2]string{"Storage", fmt.Sprintf("%s (%s): %s", s.GetDriver(), thin, s.GetDriverReason())},
		[2]string{"Runtime", fmt.Sprintf("%s (%s): %s", s.GetRuntime(), isolated, s.GetRuntimeReason())},
		[2]string{"Space", fmt.Sprintf("%s free of %s; nothing new below %s", size(s.GetPoolFreeBytes()), size(s.GetPoolTotalBytes()), size(s.GetPoolFloorBytes()))},
		[2]string{"Goldens", fmt.Sprintf("%d, with %d snapshots", s.GetGoldens(), s.GetSnapshots())},
		[2]string{"Clones", strings.Join(clones, ", ") + fmt.Sprintf("; at most %d", s.GetMaxClones())},
		[2]string{"Ports", fmt.Sprintf("%d to %d, %d free", s.GetPortFirst(), s.GetPortLast(), s.GetPortsFree())},
	); err != nil {
		return err
	}
	for _, d := range s.GetDegraded() {
		fmt.Fprintln(a.out, "DEGRADED:", d)
	}
	return nil
}
