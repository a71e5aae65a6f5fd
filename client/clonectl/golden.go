package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/cloned-db/cloned/client"
	"github.com/cloned-db/cloned/errs"
	clonedv1 "github.com/cloned-db/cloned/proto/cloned/v1"
)

func newGolden(a *app) *cobra.Command {
	cmd := &cobra.Command{Use: "golden", Short: "Keep goldens: the databases that clones are made of"}
	cmd.AddCommand(newGoldenCreate(a), newGoldenRefresh(a), newGoldenList(a), newGoldenShow(a), newGoldenRemove(a))
	return cmd
}

type goldenOptions struct {
	directory, server, passwordFile, dataset, dataDir, clone string
	image, database, memory, shm                             string
	settings                                                 []string
	cpus                                                     float64
	pids                                                     int64
	durable, vacuum                                          bool
}

func newGoldenCreate(a *app) *cobra.Command {
	o, output := &goldenOptions{}, ""
	cmd := &cobra.Command{
		Use: "create NAME", Short: "Make a golden and its first snapshot",
		Long: `Makes a golden of a stopped data directory on the daemon's host, of a running
server, of a dataset in which a server writes, or of a clone. If it fails or is
interrupted, nothing is left of it.`,
		Example: `  clonectl golden create shop --from-server 'host=db1 user=replicator' --password-file /etc/cloned/shop.pw
  clonectl golden create shop --from-directory /srv/stopped/15/main
  clonectl golden create shop --in-place tank/replica --data-dir 15/main
  clonectl golden create curated --from-clone dev@masked`,
		Args: cobra.ExactArgs(1), ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, args []string) error {
			req, err := o.request(args[0])
			if err != nil {
				return err
			}
			ctx, c, err := a.dial(cmd.Context())
			if err != nil {
				return err
			}
			return a.runGoldenCreate(ctx, c, req, output)
		},
	}
	f := cmd.Flags()
	f.StringVar(&o.directory, "from-directory", "", "stopped data directory on the daemon's host")
	f.StringVar(&o.server, "from-server", "", "running server: libpq connection string, without the password")
	f.StringVar(&o.passwordFile, "password-file", "", "file on the daemon's host with the server's password")
	f.StringVar(&o.dataset, "in-place", "", "dataset in which another server writes: ZFS name, or path of a btrfs subvolume")
	f.StringVar(&o.dataDir, "data-dir", "", "data directory inside the dataset (default: its root)")
	f.StringVar(&o.clone, "from-clone", "", "clone to publish, CLONE or CLONE@SNAPSHOT; it gives the options that are not given")
	a.complete(cmd, "from-clone", a.completeClones)
	f.StringVar(&o.image, "image", "", "image that runs clones (default: the official one of the data's version)")
	f.StringVar(&o.database, "database", "", "database that URLs name (default: the only one, or the largest)")
	f.StringArrayVar(&o.settings, "set", nil, "server setting of clones, NAME=VALUE; may be repeated")
	f.BoolVar(&o.durable, "durable", false, "keep fsync and full_page_writes on in clones")
	f.BoolVar(&o.vacuum, "vacuum", false, "vacuum, freeze and analyze the snapshot: clones that only read then write nothing")
	f.StringVar(&o.memory, "memory", "", "memory limit of a clone, e.g. 512MiB")
	f.Float64Var(&o.cpus, "cpus", 0, "limit of processor cores of a clone, e.g. 1.5")
	f.Int64Var(&o.pids, "pids", 0, "limit of processes of a clone")
	f.StringVar(&o.shm, "shm", "", "size of /dev/shm of a clone, e.g. 256MiB")
	outputFlag(cmd, &output)
	return cmd
}

func (o *goldenOptions) request(name string) (*clonedv1.CreateGoldenRequest, error) {
	sources := 0
	for _, given := range []string{o.directory, o.server, o.dataset, o.clone} {
		if given != "" {
			sources++
		}
	}
	if sources != 1 {
		return nil, errs.Fieldf("source", "give one of --from-directory, --from-server, --in-place and --from-clone")
	}
	memory, err := byteSize("memory", o.memory)
	if err != nil {
		return nil, err
	}
	shm, err := byteSize("shm", o.shm)
	if err != nil {
		return nil, err
	}
	settings, err := keyValues("set", o.settings)
	if err != nil {
		return nil, err
	}
	req := &clonedv1.CreateGoldenRequest{Name: name, Source: &clonedv1.Source{}, Options: &clonedv1.GoldenOptions{
		Image: o.image, Database: o.database, Settings: settings, Durable: o.durable, Vacuum: o.vacuum,
		MemoryBytes: memory, Cpus: o.cpus, Pids: o.pids, ShmBytes: shm,
	}}
	switch {
	case o.directory != "":
		if !filepath.IsAbs(o.directory) {
			return nil, errs.Fieldf("from-directory", "%q must be an absolute path, on the daemon's host", o.directory)
		}
		req.Source.Kind = &clonedv1.Source_Directory{Directory: &clonedv1.DirectorySource{Path: o.directory}}
	case o.server != "":
		req.Source.Kind = &clonedv1.Source_BaseBackup{BaseBackup: &clonedv1.BaseBackupSource{Conninfo: o.server, PasswordFile: o.passwordFile}}
	case o.clone != "":
		name, at, _ := strings.Cut(o.clone, "@")
		req.Source.Kind = &clonedv1.Source_Clone{Clone: &clonedv1.CloneSource{Name: name, Snapshot: at}}
	default:
		req.Source.Kind = &clonedv1.Source_InPlace{InPlace: &clonedv1.InPlaceSource{Dataset: o.dataset, DataDir: o.dataDir}}
	}
	if o.server == "" && o.passwordFile != "" {
		return nil, errs.Fieldf("password-file", "goes with --from-server")
	}
	if o.dataset == "" && o.dataDir != "" {
		return nil, errs.Fieldf("data-dir", "goes with --in-place")
	}
	return req, nil
}

func (a *app) runGoldenCreate(ctx context.Context, c *client.Client, req *clonedv1.CreateGoldenRequest, output string) error {
	begin := time.Now()
	stream, err := c.Goldens.CreateGolden(ctx, req)
	if err != nil {
		return err
	}
	p := a.newProgress()
	defer p.end()
	for {
		resp, err := stream.Recv()
		if err != nil {
			return ended(err)
		}
		if g := resp.GetGolden(); g != nil {
			p.end()
			if output == "json" {
				return a.printJSON(toJSON(g))
			}
			s := g.GetNewestSnapshot()
			_, err := fmt.Fprintf(a.out, "golden %s: snapshot %s of %s, PostgreSQL %d, made in %s\n", g.GetName(), s.GetId(), size(s.GetSizeBytes()), s.GetMajor(), took(time.Since(begin)))
			return err
		}
		p.show(resp.GetProgress())
	}
}

// ended is the error of a stream that ended without its last message.
func ended(err error) error {
	if errors.Is(err, io.EOF) {
		return errs.New(errs.Unavailable, "STREAM_ENDED", "the daemon ended the call").WithHint("see what it says: clonectl golden ls")
	}
	return err
}

func newGoldenRefresh(a *app) *cobra.Command {
	output := ""
	cmd := &cobra.Command{
		Use: "refresh NAME", Short: "Make a new snapshot from the source",
		Example: "  clonectl golden refresh shop",
		Args:    cobra.ExactArgs(1), ValidArgsFunction: a.firstArg(a.completeGoldens),
		RunE: func(cmd *cobra.Command, args []string) error {
			ctx, c, err := a.dial(cmd.Context())
			if err != nil {
				return err
			}
			begin := time.Now()
			stream, err := c.Goldens.RefreshGolden(ctx, &clonedv1.RefreshGoldenRequest{Name: args[0]})
			if err != nil {
				return err
			}
			p := a.newProgress()
			defer p.end()
			for {
				resp, err := stream.Recv()
				if err != nil {
					return ended(err)
				}
				if s := resp.GetSnapshot(); s != nil {
					p.end()
					if output == "json" {
						return a.printJSON(toJSON(s))
					}
					_, err := fmt.Fprintf(a.out, "golden %s: snapshot %s of %s made in %s\n", args[0], s.GetId(), size(s.GetSizeBytes()), took(time.Since(begin)))
					return err
				}
				p.show(resp.GetProgress())
			}
		},
	}
	outputFlag(cmd, &output)
	return cmd
}

func newGoldenList(a *app) *cobra.Command {
	output := ""
	cmd := &cobra.Command{
		Use: "ls", Aliases: []string{"list"}, Short: "List goldens", Args: cobra.NoArgs, Example: "  clonectl golden ls",
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx, c, err := a.dial(cmd.Context())
			if err != nil {
				return err
			}
			resp, err := c.Goldens.ListGoldens(ctx, &clonedv1.ListGoldensRequest{})
			if err != nil {
				return err
			}
			return printList(a, output, resp.GetGoldens(), "NAME ENGINE VERSION SIZE SNAPSHOTS NEWEST CLONES SOURCE", func(g *clonedv1.Golden) []string {
				s, version, old := g.GetNewestSnapshot(), "-", "-"
				if s != nil {
					version, old = fmt.Sprint(s.GetMajor()), span(time.Since(s.GetCreateTime().AsTime()))
				}
				return []string{g.GetName(), g.GetEngine(), version, size(s.GetSizeBytes()), fmt.Sprint(g.GetSnapshotCount()), old, fmt.Sprint(g.GetCloneCount()), source(g.GetSource())}
			})
		},
	}
	outputFlag(cmd, &output, "name")
	return cmd
}

func source(s *clonedv1.Source) string {
	switch k := s.GetKind().(type) {
	case *clonedv1.Source_Directory:
		return k.Directory.GetPath()
	case *clonedv1.Source_BaseBackup:
		return k.BaseBackup.GetConninfo()
	case *clonedv1.Source_InPlace:
		return "in place: " + k.InPlace.GetDataset()
	case *clonedv1.Source_Clone:
		return strings.TrimSuffix("clone "+k.Clone.GetName()+"@"+k.Clone.GetSnapshot(), "@")
	}
	return "-"
}

func newGoldenShow(a *app) *cobra.Command {
	output := ""
	cmd := &cobra.Command{
		Use: "show NAME", Short: "Show a golden, its snapshots, and what preparation took away",
		Args: cobra.ExactArgs(1), ValidArgsFunction: a.firstArg(a.completeGoldens), Example: "  clonectl golden show shop",
		RunE: func(cmd *cobra.Command, args []string) error {
			ctx, c, err := a.dial(cmd.Context())
			if err != nil {
				return err
			}
			resp, err := c.Goldens.GetGolden(ctx, &clonedv1.GetGoldenRequest{Name: args[0]})
			if err != nil {
				return err
			}
			if output == "json" {
				return a.printJSON(toJSON(resp))
			}
			g := resp.GetGolden()
			s, o := g.GetNewestSnapshot(), g.GetOptions()
			if err := a.pairs(
				[2]string{"Name", g.GetName()},
				[2]string{"Source", source(g.GetSource())},
				[2]string{"Image", s.GetImage()},
				[2]string{"Database", s.GetDatabase()},
				[2]string{"Databases", strings.Join(s.GetDatabases(), ", ")},
				[2]string{"Settings", joinMap(o.GetSettings())},
				[2]string{"Clones", fmt.Sprint(g.GetCloneCount())},
				[2]string{"Defused", strings.Join(s.GetDefused(), "; ")},
				[2]string{"Warnings", strings.Join(s.GetWarnings(), "; ")},
			); err != nil {
				return err
			}
			fmt.Fprintln(a.out)
			return a.printSnapshots(resp.GetSnapshots(), "")
		},
	}
	outputFlag(cmd, &output)
	return cmd
}

func newGoldenRemove(a *app) *cobra.Command {
	return &cobra.Command{
		Use: "rm NAME", Short: "Delete a golden without clones, and its snapshots",
		Args: cobra.ExactArgs(1), ValidArgsFunction: a.firstArg(a.completeGoldens), Example: "  clonectl golden rm shop",
		RunE: func(cmd *cobra.Command, args []string) error {
			ctx, c, err := a.dial(cmd.Context())
			if err != nil {
				return err
			}
			if _, err := c.Goldens.DeleteGolden(ctx, &clonedv1.DeleteGoldenRequest{Name: args[0]}); err != nil {
				return err
			}
			_, err = fmt.Fprintf(a.out, "golden %s removed\n", args[0])
			return err
		},
	}
}
