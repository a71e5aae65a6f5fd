package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	"github.com/cloned-db/cloned/errs"
)

// outputFlag adds -o to a command.
func outputFlag(cmd *cobra.Command, into *string, more ...string) {
	formats := append([]string{"json"}, more...)
	cmd.Flags().StringVarP(into, "output", "o", "", "print for programs: "+strings.Join(formats, ", "))
	check := cmd.PreRunE
	cmd.PreRunE = func(c *cobra.Command, args []string) error {
		if *into != "" && !slices.Contains(formats, *into) {
			return errs.Fieldf("output", "%q is none of %s", *into, strings.Join(formats, ", "))
		}
		if check != nil {
			return check(c, args)
		}
		return nil
	}
	_ = cmd.RegisterFlagCompletionFunc("output", cobra.FixedCompletions(formats, cobra.ShellCompDirectiveNoFileComp))
}

// toJSON is a message as the API's JSON, with every field that has a value.
func toJSON(m proto.Message) json.RawMessage {
	data, err := protojson.MarshalOptions{UseProtoNames: false}.Marshal(m)
	if err != nil {
		// Only a message that is not well-formed can't be written.
		data, _ = json.Marshal(map[string]string{"error": err.Error()})
	}
	return data
}

// printJSON prints a message, or a list of them as an array.
func (a *app) printJSON(v any) error {
	enc := json.NewEncoder(a.out)
	enc.SetIndent("", "  ")
	return enc.Encode(v)
}

func jsonList[M proto.Message](list []M) []json.RawMessage {
	out := make([]json.RawMessage, len(list))
	for i, m := range list {
		out[i] = toJSON(m)
	}
	return out
}

// printList prints things that have names: as JSON, by their names alone, or as a
// table.
func printList[M interface {
	proto.Message
	GetName() string
}](a *app, output string, list []M, header string, row func(M) []string) error {
	if output == "json" {
		return a.printJSON(jsonList(list))
	}
	var rows [][]string
	for _, m := range list {
		if output == "name" {
			fmt.Fprintln(a.out, m.GetName())
		} else {
			rows = append(rows, row(m))
		}
	}
	if output == "name" {
		return nil
	}
	return a.table(header, rows)
}

// table prints aligned columns.
func (a *app) table(header string, rows [][]string) error {
	w := tabwriter.NewWriter(a.out, 0, 8, 2, ' ', 0)
	fmt.Fprintln(w, strings.ReplaceAll(header, " ", "\t"))
	for _, row := range rows {
		fmt.Fprintln(w, strings.Join(row, "\t"))
	}
	return w.Flush()
}

// pairs prints "name: value" lines, aligned, without those that have no value.
func (a *app) pairs(list ...[2]string) error {
	w := tabwriter.NewWriter(a.out, 0, 8, 2, ' ', 0)
	for _, p := range list {
		if p[1] != "" {
			fmt.Fprintf(w, "%s:\t%s\n", p[0], p[1])
		}
	}
	return w.Flush()
}

const (
	red    = "31"
	green  = "32"
	yellow = "33"
	grey   = "90"
)

// paint colours text for an output that is a terminal.
func paint(to io.Writer, colour, text string) string {
	if _, never := os.LookupEnv("NO_COLOR"); never || !terminal(to) {
		return text
	}
	return "\x1b[" + colour + "m" + text + "\x1b[0m"
}

// size writes bytes for people.
func size(n int64) string {
	units := []string{"B", "KiB", "MiB", "GiB", "TiB", "PiB"}
	v, u := float64(n), 0
	for v >= 1024 && u < len(units)-1 {
		v, u = v/1024, u+1
	}
	if u == 0 || v >= 10 {
		return fmt.Sprintf("%.0f %s", v, units[u])
	}
	return fmt.Sprintf("%.1f %s", v, units[u])
}

// span writes a length of time for people, in its largest unit.
func span(d time.Duration) string {
	switch {
	case d < time.Minute:
		return fmt.Sprintf("%ds", int(d.Seconds()))
	case d < time.Hour:
		return fmt.Sprintf("%dm", int(d.Minutes()))
	case d < 48*time.Hour:
		return fmt.Sprintf("%dh", int(d.Hours()))
	default:
		return fmt.Sprintf("%dd", int(d.Hours()/24))
	}
}

// took writes a measured time.
func took(d time.Duration) string {
	if d < 10*time.Second {
		return fmt.Sprintf("%d ms", d.Milliseconds())
	}
	return d.Round(time.Second).String()
}
