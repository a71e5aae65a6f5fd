package control

import (
	"context"
	"maps"
	"os"
	"path"
	"strings"

	"github.com/cloned-db/cloned/database"
	"github.com/cloned-db/cloned/errs"
	"github.com/cloned-db/cloned/internal/secret"
	"github.com/cloned-db/cloned/state"
)

// CreateGolden makes a golden and its first snapshot. If that fails, or ctx
// ends, nothing is left of either.
func (p *Plane) CreateGolden(ctx context.Context, req CreateGoldenRequest, progress func(Progress)) (state.Golden, state.Snapshot, error) {
	g, err := p.checkGolden(caller(ctx), req)
	if err != nil {
		return state.Golden{}, state.Snapshot{}, err
	}
	if err := p.open(ctx); err != nil {
		return state.Golden{}, state.Snapshot{}, err
	}
	if err := goldenTaken(p.store.View(), g.Name); err != nil {
		return state.Golden{}, state.Snapshot{}, err
	}
	s, err := p.refresh(ctx, g, progress, func(tx *state.Tx) error {
		if err := goldenTaken(&tx.View, g.Name); err != nil {
			return err
		}
		tx.PutGolden(&g)
		return nil
	})
	if err != nil {
		return state.Golden{}, state.Snapshot{}, err
	}
	g, _ = p.store.View().Golden(g.Name)
	return g, s, nil
}

// goldenTaken refuses the name of a golden that is there, or not yet quite gone.
func goldenTaken(v *state.View, name string) error {
	g, ok := v.Golden(name)
	switch {
	case !ok:
		return nil
	case g.Published:
		return errs.New(errs.Exists, "NAME_TAKEN", "a golden named %s exists", name).
			WithHint("refresh it, or choose another name")
	default:
		return errs.New(errs.Conflict, "REFRESHING", "a golden named %s is being made, or what is left of a failed attempt removed", name).
			WithHint("wait until that is over")
	}
}

// checkGolden validates a request without touching anything.
func (p *Plane) checkGolden(who Caller, req CreateGoldenRequest) (state.Golden, error) {
	g := state.Golden{Name: req.Name, Engine: req.Engine, Source: req.Source, Options: req.Options, Created: p.now().Round(0)}
	if err := checkName("name", g.Name); err != nil {
		return g, err
	}
	if !who.uses(g.Name) {
		return g, errs.New(errs.Denied, "GOLDEN_NOT_ALLOWED", "%s may use the goldens %s only", who.Principal, strings.Join(who.Goldens, ", ")).
			WithHint("give it one of these names")
	}
	if err := p.checkSource(&g.Source); err != nil {
		return g, err
	}
	if database.SourceKind(g.Source.Kind) == database.SourceClone {
		if err := p.inherit(who, &g, req); err != nil {
			return g, err
		}
	}
	if g.Engine == "" {
		g.Engine = DefaultEngine
	}
	engine, ok := p.cfg.Engines[g.Engine]
	if !ok {
		return g, errs.Fieldf("engine", "there is none named %q", g.Engine)
	}
	if o := g.Options; o.MemoryBytes < 0 || !(o.CPUs >= 0) || o.PIDs < 0 || o.ShmBytes < 0 {
		return g, errs.Fieldf("options", "limits must not be negative")
	}
	if err := engine.CheckSettings(g.Options.Settings); err != nil {
		return g, err
	}
	return g, engine.CheckSource(sourceOf(g.Source, ""))
}

func (p *Plane) checkSource(src *state.GoldenSource) error {
	if src.PasswordFile != "" && !path.IsAbs(src.PasswordFile) {
		return errs.Fieldf("source.password_file", "%q must be an absolute path", src.PasswordFile)
	}
	switch database.SourceKind(src.Kind) {
	case database.SourceInPlace:
	case database.SourceClone:
		return checkName("source.clone", src.Clone)
	default:
		return nil
	}
	if c := p.cfg.Driver.Capabilities(); !c.Foreign || !c.Atomic {
		return errs.Fieldf("source", "storage %s can't snapshot a dataset in place", p.cfg.Driver.Name())
	}
	if src.Dataset == "" {
		return errs.Fieldf("source.dataset", "must be given")
	}
	src.DataDir = path.Clean(src.DataDir) // "." for an empty one
	if path.IsAbs(src.DataDir) || src.DataDir == ".." || strings.HasPrefix(src.DataDir, "../") {
		return errs.Fieldf("source.data_dir", "%q must lie inside the dataset", src.DataDir)
	}
	return nil
}

func sourceOf(s state.GoldenSource, password secret.Text) database.Source {
	return database.Source{Kind: database.SourceKind(s.Kind), Directory: s.Directory, ConnInfo: s.ConnInfo, Password: password}
}

// passwordMax bounds what is read as a password file.
const passwordMax = 64 << 10

// readPassword reads the source's password at the time of its use: it is kept
// nowhere else.
func readPassword(file string) (secret.Text, error) {
	if file == "" {
		return "", nil
	}
	info, err := os.Stat(file)
	if err == nil && (!info.Mode().IsRegular() || info.Size() > passwordMax) {
		err = errs.Fieldf("source.password_file", "%s is no password file", file)
	}
	if err != nil {
		return "", errs.Fieldf("source.password_file", "%w", err)
	}
	raw, err := os.ReadFile(file)
	if err != nil {
		return "", errs.Fieldf("source.password_file", "%w", err)
	}
	return secret.Text(strings.TrimRight(string(raw), "\r\n")), nil
}

// RefreshGolden publishes a new snapshot of the golden's source. One refresh of
// a golden runs at a time: errs.Conflict (REFRESHING) otherwise.
func (p *Plane) RefreshGolden(ctx context.Context, name string, progress func(Progress)) (state.Snapshot, error) {
	if err := p.open(ctx); err != nil {
		return state.Snapshot{}, err
	}
	g, err := refreshable(p.store.View(), caller(ctx), name)
	if err != nil {
		return state.Snapshot{}, err
	}
	return p.refresh(ctx, g, progress, func(tx *state.Tx) error {
		_, err := refreshable(&tx.View, caller(ctx), name)
		return err
	})
}

func refreshable(v *state.View, who Caller, name string) (state.Golden, error) {
	g, err := who.golden(v, name)
	switch {
	case err != nil:
		return g, err
	case g.Source.Kind == "":
		return g, errs.New(errs.Precondition, "SOURCE_UNKNOWN", "golden %s was adopted, and where its data comes from is not known", name).
			WithHint("make a new golden from the source, and delete this one when its clones have gone")
	}
	for _, s := range v.Snapshots(name) {
		if s.State == state.SnapshotPreparing {
			return g, errs.New(errs.Conflict, "REFRESHING", "a refresh of golden %s is running", name).
				WithHint("wait until it is over")
		}
	}
	return g, nil
}

// GetGolden returns a golden and its snapshots, newest first.
func (p *Plane) GetGolden(ctx context.Context, name string) (state.Golden, []state.Snapshot, error) {
	view := p.store.View()
	g, err := caller(ctx).golden(view, name)
	if err != nil {
		return state.Golden{}, nil, err
	}
	return g, readySnapshots(view, name), nil
}

// ListGoldens returns the goldens by name.
func (p *Plane) ListGoldens(ctx context.Context) []state.Golden {
	var out []state.Golden
	who := caller(ctx)
	for _, g := range p.store.View().Goldens() {
		if g.Published && who.uses(g.Name) {
			out = append(out, g)
		}
	}
	return out
}

// namedClones is how many clones an error names.
const namedClones = 5

// DeleteGolden deletes a golden and its snapshots, which are collected as what
// descends from them goes. With clones it is errs.Precondition (HAS_CLONES)
// naming some of them.
func (p *Plane) DeleteGolden(ctx context.Context, name string) error {
	var snapshots []state.Snapshot
	var forgotten []state.Clone // that could have been brought back
	err := p.step(stepCommitRequest, func() error {
		return p.store.Update(func(tx *state.Tx) error {
			if _, err := caller(ctx).golden(&tx.View, name); err != nil {
				return err
			}
			var clones []string
			for c := range tx.ClonesByName("") {
				if c.Golden == name {
					clones = append(clones, c.Name)
				}
			}
			if n := len(clones); n > 0 {
				return errs.New(errs.Precondition, "HAS_CLONES", "golden %s has %d clones, among them %s", name, n, strings.Join(clones[:min(n, namedClones)], ", ")).
					WithHint("delete them first: clonectl rm --golden %s", name)
			}
			for c := range tx.Clones() {
				if c.Golden == name && !c.KeptUntil.IsZero() {
					forgotten = append(forgotten, c)
				}
			}
			for i := range forgotten {
				forgetIn(tx, &forgotten[i], 0)
			}
			snapshots = tx.Snapshots(name)
			for i := range snapshots {
				if snapshots[i].State == state.SnapshotPreparing {
					return errs.New(errs.Conflict, "REFRESHING", "a refresh of golden %s is running", name).
						WithHint("wait until it is over, or cancel it")
				}
				snapshots[i].State = state.SnapshotDeleting
				tx.PutSnapshot(&snapshots[i])
			}
			tx.DropGolden(name)
			return nil
		})
	})
	if err != nil {
		return err
	}
	p.log.Info("golden deleted", "golden", name, "snapshots", len(snapshots), "request", RequestID(ctx))
	for _, c := range forgotten {
		p.wakeSnapshots(c.ID)
		p.owners.wake(cloneKey(c.ID))
	}
	for _, s := range snapshots {
		p.owners.wake(snapshotKey(s.ID))
	}
	return nil
}

// newGoldenSnapshot is the record of a refresh that begins.
func newGoldenSnapshot(g state.Golden) state.Snapshot {
	s := state.Snapshot{ID: newID(), Golden: g.Name, State: state.SnapshotPreparing, DataDir: filledDataDir}
	if database.SourceKind(g.Source.Kind) == database.SourceInPlace {
		s.Foreign, s.DataDir = g.Source.Dataset, g.Source.DataDir
	}
	return s
}

// describe writes what the engine found out into a snapshot's record.
func describe(s *state.Snapshot, f database.Facts, d database.Prepared) {
	s.Major, s.SystemID, s.UID, s.GID, s.Warnings = f.Major, f.SystemID, f.Owner.UID, f.Owner.GID, f.Warnings
	s.Database, s.Databases, s.SizeBytes = d.Database, d.Databases, d.SizeBytes
	s.PreloadLibraries, s.Defused, s.Parameters, s.CanCount = d.PreloadLibraries, d.Defused, maps.Clone(d.Parameters), d.CanCount
}

// filledDataDir is the data directory in volumes that are filled by us.
const filledDataDir = "data"
