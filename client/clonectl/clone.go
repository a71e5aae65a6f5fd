package main

import (
	"fmt"
	"strings"
	"time"

	"github.com/cloned-db/cloned/client"
	clonedv1 "github.com/cloned-db/cloned/proto/cloned/v1"
)

// address is where a clone is reached, without credentials.
func address(c *clonedv1.Clone) string {
	if c.GetEndpoint() == nil {
		return ""
	}
	return fmt.Sprintf("%s:%d", c.GetEndpoint().GetAddress(), c.GetEndpoint().GetPort())
}

func state(c *clonedv1.Clone) string {
	s := client.StateName(c.GetState())
	if c.GetProtect() {
		s += ",protected"
	}
	return s
}

func expires(c *clonedv1.Clone) string {
	at := c.GetExpireTime()
	switch {
	case c.GetKeptUntilTime() != nil: // deleted
		at = c.GetKeptUntilTime()
	case at == nil && c.GetHeld():
		return "held"
	case at == nil:
		return "never"
	}
	left := time.Until(at.AsTime())
	if left < 0 {
		return "now"
	}
	return "in " + span(left)
}

func age(c *clonedv1.Clone) string { return span(time.Since(c.GetCreateTime().AsTime())) }

func labels(c *clonedv1.Clone) string { return joinMap(c.GetLabels()) }

// phases tells where the time of the last create or reset went.
func phases(c *clonedv1.Clone) string {
	var parts []string
	for _, t := range c.GetTimings() {
		parts = append(parts, fmt.Sprintf("%s %s", t.GetPhase(), took(t.GetTook().AsDuration())))
	}
	return strings.Join(parts, ", ")
}

// printClone prints what a command has made of a clone.
func (a *app) printClone(c *clonedv1.Clone, output string) error {
	switch output {
	case "json":
		return a.printJSON(toJSON(c))
	case "name":
		_, err := fmt.Fprintln(a.out, c.GetName())
		return err
	}
	usage := ""
	if u := c.GetUsage(); u != nil {
		usage = fmt.Sprintf("%s of its own, %s in all", size(u.GetUniqueBytes()), size(u.GetLogicalBytes()))
	}
	restarts := ""
	if c.GetRestarts() > 0 {
		restarts = fmt.Sprintf("%d, %d of them out of memory", c.GetRestarts(), c.GetOomKills())
	}
	return a.pairs(
		[2]string{"Name", c.GetName()},
		[2]string{"State", state(c)},
		[2]string{"Message", c.GetMessage()},
		[2]string{"URL", c.GetEndpoint().GetUrl()},
		[2]string{"Golden", c.GetGolden() + " at " + c.GetSnapshot()},
		[2]string{"Branch", c.GetBranch()},
		[2]string{"Owner", c.GetOwner()},
		[2]string{"Labels", labels(c)},
		[2]string{"Age", age(c)},
		[2]string{"Expires", expires(c)},
		[2]string{"Kept", keptText(c)},
		[2]string{"Space", usage},
		[2]string{"Restarts", restarts},
		[2]string{"Took", phases(c)},
	)
}
