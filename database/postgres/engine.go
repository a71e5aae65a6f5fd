package postgres

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"

	"github.com/cloned-db/cloned/container"
	"github.com/cloned-db/cloned/database"
	"github.com/cloned-db/cloned/errs"
)

const (
	// oldest and newest are the major versions that are supported.
	oldest, newest = 12, 18
	// role is what users of clones log in as: a superuser, for a clone is theirs.
	role = "cloned"
	// port is where a server listens if nothing else is said.
	port = 5432
	// maintenance is the database that exists unless somebody dropped it.
	maintenance = "postgres"
)

// Phases, as in errors and progress.
const (
	phaseProbe   = "probe"
	phaseFill    = "fill"
	phasePrepare = "prepare"
	phaseReady   = "ready"
	phaseClaim   = "claim"
)

// Engine is PostgreSQL. It holds nothing but sessions that may soon be used again;
// New makes one.
type Engine struct{ kept kept }

var _ database.Engine = (*Engine)(nil)

// New returns the engine.
func New() *Engine {
	return &Engine{kept: kept{keepFor: keepSession, sessions: map[string]*keptSession{}}}
}

// Name implements database.Engine.
func (*Engine) Name() string { return "postgres" }

// Role implements database.Engine.
func (*Engine) Role() string { return role }

// DefaultImage implements database.Engine: the official image, or for plain
// processes the directory in which the packages of Debian, Red Hat or Alpine
// have the major version's programs.
func (*Engine) DefaultImage(runtime string, major int) string {
	if !hostProcesses(runtime) {
		return fmt.Sprintf("postgres:%d", major)
	}
	candidates := []string{
		fmt.Sprintf("/usr/lib/postgresql/%d/bin", major),
		fmt.Sprintf("/usr/pgsql-%d/bin", major),
		fmt.Sprintf("/usr/libexec/postgresql%d", major),
	}
	for _, dir := range candidates {
		if _, err := os.Stat(filepath.Join(dir, "postgres")); err == nil {
			return dir
		}
	}
	return candidates[0] // the error that it is missing then names this one
}

// hostProcesses says that the runtime of that name runs programs of the host,
// which see the host's files.
func hostProcesses(runtime string) bool { return runtime == "process" }

// versionLine is what "postgres --version" prints, as in
// "postgres (PostgreSQL) 15.13 (Debian 15.13-0+deb12u1)" or "… 18beta1".
var versionLine = regexp.MustCompile(`^postgres \(PostgreSQL\) ([0-9]+)`)

// CheckImage implements database.Engine.
func (*Engine) CheckImage(ctx context.Context, rt container.Runtime, taskID, image string, major int) error {
	var output []string
	err := rt.Run(ctx, container.Task{
		ID:    taskID,
		Image: image, Argv: []string{"postgres", "--version"}, User: rt.DefaultUser(),
		Output: func(line string) { output = append(output, line) },
	})
	if e := errs.As(err); err != nil && e.Reason == container.ReasonTaskFailed {
		return errs.New(errs.Precondition, database.ReasonVersion, "image %s does not run PostgreSQL: %w", image, err).
			WithHint("choose an image of PostgreSQL %d with --image", major).WithLog(e.Log).WithPhase(phaseProbe)
	}
	if err != nil {
		return err
	}
	for _, line := range output {
		match := versionLine.FindStringSubmatch(line)
		if match == nil {
			continue
		}
		has, err := strconv.Atoi(match[1])
		if err == nil && has == major {
			return nil
		}
		return errs.New(errs.Precondition, database.ReasonVersion, "image %s has PostgreSQL %s, the data needs %d", image, match[1], major).
			WithHint("choose an image of PostgreSQL %d with --image", major).WithPhase(phaseProbe)
	}
	return errs.New(errs.Precondition, database.ReasonVersion, "image %s does not say which PostgreSQL it has", image).
		WithHint("choose an image of PostgreSQL %d with --image", major).WithLog(output).WithPhase(phaseProbe)
}

// checkMajor returns an error unless the version is one that we support.
func checkMajor(major int) error {
	if major >= oldest && major <= newest {
		return nil
	}
	return errs.New(errs.Precondition, database.ReasonVersion, "PostgreSQL %d is not supported", major).
		WithHint("versions %d to %d are", oldest, newest)
}

// inPhase adds the phase to an error that has none; nil stays nil.
func inPhase(phase string, err error) error {
	if err == nil {
		return nil
	}
	e := *errs.As(err)
	if e.Phase == "" {
		e.Phase = phase
	}
	return &e
}
