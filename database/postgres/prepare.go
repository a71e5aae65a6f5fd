package postgres

import (
	"context"
	"os"
	"path"
	"strconv"
	"strings"
	"sync"

	"github.com/cloned-db/cloned/container"
	"github.com/cloned-db/cloned/database"
	"github.com/cloned-db/cloned/errs"
)

// Prepare implements database.Engine, in three steps:
//
//  1. files: what a server would act upon before anybody can tell it not to is
//     removed or written anew, by us, while nothing runs on the volume;
//  2. a server, without network and without what it could start by itself,
//     finishes recovery; over the admin socket the role is made and the rest
//     defused; it shuts down;
//  3. pg_controldata says that it did.
//
// A server runs on the data only as a task without network, as the user that
// owns the data.
func (*Engine) Prepare(ctx context.Context, rt container.Runtime, req database.PrepareRequest) (database.Prepared, error) {
	p := &preparation{rt: rt, req: req, paths: pathsOf(rt, req.Volume), readAhead: map[string][]string{}}
	err := p.run(ctx)
	p.result.Defused = told(p.result.Defused)
	return p.result, inPhase(phasePrepare, err)
}

// preparation is one run of Prepare.
type preparation struct {
	rt     container.Runtime
	req    database.PrepareRequest
	paths  paths
	result database.Prepared
	// source is what the data directory's settings were, conf what they became.
	source, conf settings
	// control is what the data said when we came.
	control control
	tasks   int
	// readAhead is what sessions read first, by database.
	readAhead map[string][]string
	// reporting: what a server prints is reported from a goroutine of its own.
	reporting sync.Mutex
}

func (p *preparation) run(ctx context.Context) error {
	steps := []struct {
		message string
		do      func(context.Context) error
	}{
		{"settings and files", func(context.Context) error { return p.files() }},
		{"recovery", p.serve},
		{"verifying", p.verify},
		{"cleaning up", p.cleanUp},
	}
	for _, step := range steps {
		p.report(step.message, 0, 0)
		if err := step.do(ctx); err != nil {
			return err
		}
	}
	return nil
}

func (p *preparation) report(message string, done, total int64) {
	p.reporting.Lock()
	defer p.reporting.Unlock()
	p.req.Progress(database.Progress{Phase: phasePrepare, Message: errs.Plain(message), Done: done, Total: total})
}

// defused notes something that was taken away.
func (p *preparation) defused(what string) {
	p.result.Defused = append(p.result.Defused, what)
}

// task describes a task on the volume, without network.
func (p *preparation) task(verb string, output func(string), argv ...string) container.Task {
	p.tasks++
	return container.Task{
		ID:      p.req.Volume.TaskID + "-" + verb + "-" + strconv.Itoa(p.tasks),
		Image:   p.req.Volume.Image,
		Argv:    argv,
		Env:     []string{"LC_ALL=C"},
		Volume:  p.req.Volume.Path,
		User:    p.req.Facts.Owner,
		Limits:  p.req.Volume.Limits,
		Network: container.NetworkNone,
		Output:  output,
	}
}

// serverArgs are the options of the servers of this preparation: those of the
// clones, as far as the log that they write depends on them, so that no clone
// has to note at its start that they have changed. But fsync stays on: what is
// shut down here must be on disk when the snapshot is published.
func (p *preparation) serverArgs() []string {
	major := p.req.Facts.Major
	all := merge(
		of(modest, major), memory(p.rt), settings{"full_page_writes": "off", "synchronous_commit": "off"},
		p.result.Parameters, preloading(p.result.PreloadLibraries), p.req.Settings,
		settings{"fsync": "on", "autovacuum": "off"},
		guards(major, p.paths, endpoint{port: port, id: p.req.Volume.TaskID}),
		// Nobody but us reaches it, and ours is not a role yet.
		settings{"hba_file": p.paths.own + "/" + prepareHBAFile},
	)
	if p.req.Facts.Standby {
		// Recovery from an archive that has nothing: what is in pg_wal is all
		// there is. In this mode, unlike after a crash, the server follows changes
		// of the timeline, and refuses if it can't reach a consistent state.
		all["restore_command"], all["hot_standby"] = "false", "off"
	}
	return append([]string{"-D", p.paths.data}, all.args()...)
}

// verify returns errs.Corrupt unless pg_controldata says that the server was
// shut down.
func (p *preparation) verify(ctx context.Context) error {
	var output []string
	err := p.rt.Run(ctx, p.task("verify", func(line string) { output = append(output, line) }, "pg_controldata", "-D", p.paths.data))
	if err != nil {
		return err
	}
	const label = "Database cluster state:"
	for _, line := range output {
		if state, ok := strings.CutPrefix(line, label); ok {
			if state = strings.TrimSpace(state); state == "shut down" {
				return nil
			}
			return errs.New(errs.Corrupt, "NOT_SHUT_DOWN", "after its preparation the database is %q and not shut down", state)
		}
	}
	return errs.New(errs.Corrupt, "NOT_SHUT_DOWN", "pg_controldata does not say whether the database is shut down").WithLog(output)
}

// cleanUp removes what only preparation needs, and leaves what clones need.
func (p *preparation) cleanUp(context.Context) error {
	err := p.within(func(volume, _ *os.Root) error {
		if err := volume.RemoveAll(path.Join(ownDir, prepareHBAFile)); err != nil {
			return err
		}
		return p.writeReadAhead(volume)
	})
	return volumeError("cleaning up", err)
}

// within opens the volume and the data directory for f.
func (p *preparation) within(f func(volume, data *os.Root) error) error {
	volume, err := os.OpenRoot(p.req.Volume.Path)
	if err != nil {
		return err
	}
	defer volume.Close()
	data, err := volume.OpenRoot(path.Clean(p.req.Volume.DataDir))
	if err != nil {
		return err
	}
	defer data.Close()
	return f(volume, data)
}
