package postgres

import (
	"context"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/cloned-db/cloned/container"
	"github.com/cloned-db/cloned/database"
	"github.com/cloned-db/cloned/errs"
)

// maxAttempts bounds how often a server is started to learn what it does not
// take: it reports all bad settings at once, but libraries one by one.
const maxAttempts = 20

// singleUser feeds a single-user server. Its arguments are the server's.
//
// The first statement fails if the source has a role of that name. It is then
// taken over: in a clone the role is a superuser, and nobody knows its password.
const singleUser = `printf '%s\n' \
	'CREATE ROLE ` + role + `;' \
	'ALTER ROLE ` + role + ` SUPERUSER LOGIN INHERIT CREATEDB CREATEROLE REPLICATION BYPASSRLS CONNECTION LIMIT -1 PASSWORD NULL;' \
	"ALTER ROLE ` + role + ` VALID UNTIL 'infinity';" \
	'ALTER ROLE ` + role + ` RESET ALL;' \
| exec postgres "$@"`

// recover does the second step of a preparation: a single-user server finishes
// recovery and makes the role. What the image's server does not take of the
// source's settings and libraries is taken out, and it is started again.
func (p *preparation) recover(ctx context.Context) error {
	db := "template1"
	for range maxAttempts {
		output, err := p.single(ctx, db)
		if err == nil {
			if said(output, `role "`+role+`" already exists`) != "" {
				p.defused("role " + role + " of the source: taken over, and a superuser now")
			}
			return nil
		}
		if errs.As(err).Reason != container.ReasonTaskFailed || ctx.Err() != nil {
			return err
		}
		if db != maintenance && said(output, `database "`+db+`" does not exist`) != "" {
			db = maintenance
			continue
		}
		changed, fault := p.takeOut(output)
		if fault != nil {
			return fault
		}
		if !changed {
			return recoveryError(err, output)
		}
		if err := p.rewriteConf(); err != nil {
			return err
		}
	}
	return errs.New(errs.Precondition, "PREPARE", "the server still does not start, after %d attempts to take out settings that it does not take", maxAttempts).
		WithHint("choose an image that is closer to the source's server")
}

// single runs a single-user server to its end and returns what it printed.
func (p *preparation) single(ctx context.Context, db string) ([]string, error) {
	var output []string
	argv := append([]string{"sh", "-c", singleUser, "sh", "--single"}, p.serverArgs()...)
	err := p.rt.Run(ctx, p.task("recover", func(line string) {
		if len(output) < 1000 { // a recovery may be wordy, and the faults come first
			output = append(output, line)
		}
		if strings.Contains(line, "redo ") {
			p.report("recovery: "+afterPrefix(line), 0, 0)
		}
	}, append(argv, db)...))
	return output, err
}

// afterPrefix is a line of a server's log without what log_line_prefix adds.
func afterPrefix(line string) string {
	if _, message, ok := strings.Cut(line, "LOG:  "); ok {
		return message
	}
	return line
}

// said returns the first line that has the text in it; "" if none has.
func said(lines []string, text string) string {
	for _, line := range lines {
		if strings.Contains(line, text) {
			return line
		}
	}
	return ""
}

var (
	// badSetting is what a server says of a setting that it does not take.
	badSetting = regexp.MustCompile(`(?:LOG|FATAL): .*parameter "([^"]+)"`)
	// badLibrary is what a server says of a library that it can't load.
	badLibrary = regexp.MustCompile(`FATAL:  could not (?:access file|load library|find function "_PG_init" in file) "([^"]+)"`)
)

// takeOut takes out of the source's settings what the server has complained of.
// It returns an error if that is one of the golden's own.
func (p *preparation) takeOut(output []string) (changed bool, err error) {
	for _, line := range output {
		if match := badLibrary.FindStringSubmatch(line); match != nil {
			name := libraryName(match[1])
			at := slices.Index(p.result.PreloadLibraries, name)
			if at < 0 {
				continue
			}
			if _, own := p.req.Settings[preload]; own {
				return false, settingError(preload, afterFatal(line))
			}
			p.result.PreloadLibraries = slices.Delete(slices.Clone(p.result.PreloadLibraries), at, at+1)
			p.defused("library " + name + ": the image does not have it")
			return true, nil
		}
		match := badSetting.FindStringSubmatch(line)
		if match == nil {
			continue
		}
		name := strings.ToLower(match[1])
		if _, own := p.req.Settings[name]; own {
			return false, settingError(name, afterFatal(line))
		}
		if _, has := p.conf[name]; has {
			delete(p.conf, name)
			p.defused("setting " + name + ": the image's server does not take its value")
			changed = true
		}
	}
	return changed, nil
}

func afterFatal(line string) string {
	if _, message, ok := strings.Cut(line, "FATAL:  "); ok {
		return message
	}
	return afterPrefix(line)
}

// recoveryFaults classify what a server says that can't finish recovery.
var recoveryFaults = []struct {
	said   string
	kind   errs.Kind
	reason string
	hint   string
}{
	{"No space left on device", errs.Exhausted, "POOL_FULL", "delete clones or old snapshots, or make the pool larger"},
	{"could not locate a valid checkpoint record", errs.Corrupt, "NO_CHECKPOINT", "the write-ahead log is not that of the data: copy them together"},
	{"could not locate required checkpoint record", errs.Corrupt, "NO_CHECKPOINT", "the log that the backup needs is missing: copy the server with a base backup"},
	{"WAL ends before", errs.Corrupt, "INCOMPLETE", "the log that the copy needs is missing: copy it again, all at once"},
	{"requested timeline", errs.Corrupt, "INCOMPLETE", "the log that the copy needs is missing: copy it again, all at once"},
	{"PANIC:", errs.Corrupt, "RECOVERY", "the data is damaged: see the log, and copy it again"},
	{"database files are incompatible with server", errs.Precondition, database.ReasonVersion, "choose an image built with the same options as the source's server"},
	{"was initialized with", errs.Precondition, database.ReasonVersion, "choose an image built with the same options as the source's server"},
	{"could not map anonymous shared memory", errs.Precondition, "MEMORY", "lower the golden's shared_buffers, or raise its memory"},
	{"has group or world access", errs.Internal, "PERMISSIONS", ""},
}

// recoveryError says why a server could not finish recovery.
func recoveryError(err error, output []string) error {
	e := *errs.As(err)
	e.Message = fmt.Sprintf("the server that was to recover the data failed: %s", e.Message)
	for _, f := range recoveryFaults {
		if line := said(output, f.said); line != "" {
			found := errs.New(f.kind, f.reason, "recovering the data: %s", afterFatal(line)).WithLog(e.Log)
			found.Hint = f.hint
			return found
		}
	}
	return &e
}
