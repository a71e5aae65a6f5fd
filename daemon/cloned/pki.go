package main

import (
	"io"
	"os"
	"path/filepath"
	"text/template"

	"github.com/spf13/cobra"

	"github.com/cloned-db/cloned/internal/pki"
)

// firstClient is whose certificate comes with a new CA.
const firstClient = "admin"

func newPKI() *cobra.Command {
	var dir string
	cmd := &cobra.Command{
		Use:   "pki",
		Short: "Make a small CA, and certificates for the daemon and its clients",
		Long: `Makes the certificates that tls:// addresses need, for those who have no CA of
their own. Nothing is overwritten. The CA can sign for this host only; its key is
needed for "client" and "renew", and may be kept elsewhere meanwhile.`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.PersistentFlags().StringVar(&dir, "dir", "/etc/cloned/pki", "directory of the CA and the certificates")
	cmd.AddCommand(newPKIInit(&dir), newPKIClient(&dir), newPKIRenew(&dir))
	return cmd
}

func newPKIInit(dir *string) *cobra.Command {
	var hosts []string
	cmd := &cobra.Command{
		Use:     "init [--host NAME,IP…]",
		Short:   "Make a CA, the daemon's certificate and that of a first client, " + firstClient,
		Example: "  cloned pki init --host db1.internal,10.0.0.7",
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			dir, err := filepath.Abs(*dir)
			if err != nil {
				return err
			}
			if err := pki.Init(dir, hosts, firstClient); err != nil {
				return err
			}
			return tell(cmd.OutOrStdout(), initText, dir, firstClient)
		},
	}
	cmd.Flags().StringSliceVar(&hosts, "host", nil, "DNS names and IP addresses by which clients know the daemon, besides this host's name and loopback")
	return cmd
}

func newPKIClient(dir *string) *cobra.Command {
	return &cobra.Command{
		Use:     "client NAME",
		Short:   "Make a certificate for a client",
		Long:    "Makes a certificate for a client. What it may do is said in the configuration.",
		Example: "  cloned pki client ci-17",
		Args:    oneName,
		RunE: func(cmd *cobra.Command, args []string) error {
			dir, err := filepath.Abs(*dir)
			if err != nil {
				return err
			}
			if err := pki.NewClient(dir, args[0]); err != nil {
				return err
			}
			return tell(cmd.OutOrStdout(), clientText, dir, args[0])
		},
	}
}

func newPKIRenew(dir *string) *cobra.Command {
	return &cobra.Command{
		Use:   "renew NAME",
		Short: "Replace a certificate by a new one for the same name, hosts and use",
		Long: `Replaces a certificate and its key by new ones for the same name, hosts and use. A
running daemon takes its own, "server", within a second, and connections stay.`,
		Example: "  cloned pki renew server",
		Args:    oneName,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := pki.Renew(*dir, args[0]); err != nil {
				return err
			}
			return tell(cmd.OutOrStdout(), "{{.Cert}} is good until {{.Until}}.\n", *dir, args[0])
		},
	}
}

func oneName(cmd *cobra.Command, args []string) error {
	if err := cobra.ExactArgs(1)(cmd, args); err != nil {
		return usageError{err}
	}
	return nil
}

const (
	clientText = `{{.Cert}} is good until {{.Until}}.

In the configuration of the daemon, with the role that it is to have (viewer, user,
operator or admin), followed by a restart, which disturbs no clone:

access:
  certs:
    {{.Name}}: {{.Role}}

Its three files are {{.CA}}, {{.Cert}} and {{.Key}}; there:

export CLONED_HOST=tls://{{.Host}}:7432
export CLONED_CA=ca.crt CLONED_CERT={{.Name}}.crt CLONED_KEY={{.Name}}.key
clonectl status
`
	initText = `{{.Dir}} has a CA, the daemon's certificate, and that of a client.
Keep {{.Dir}}/ca.key where only you get it; it is needed to make more.

In the configuration of the daemon:

listen:
  - unix:///run/cloned/cloned.sock
  - tls://0.0.0.0:7432
tls:
  cert: {{.Dir}}/server.crt
  key: {{.Dir}}/server.key
  client_ca: {{.CA}}

` + clientText
)

// tell writes what comes next.
func tell(w io.Writer, text, dir, name string) error {
	files := pki.Of(dir, name)
	until, err := pki.Expiry(files.Cert)
	if err != nil {
		return err
	}
	host, err := os.Hostname()
	if err != nil {
		return err
	}
	role := "user"
	if name == firstClient {
		role = "admin"
	}
	return template.Must(template.New("").Parse(text)).Execute(w, map[string]string{
		"Dir": dir, "Name": name, "Role": role, "Host": host, "Until": until.Format("2006-01-02"),
		"CA": pki.Of(dir, pki.CA).Cert, "Cert": files.Cert, "Key": files.Key,
	})
}
