package postgres

import (
	"fmt"
	"path"
	"regexp"
	"slices"
	"strings"
)

// harmful are libraries that do something by themselves when they are loaded at
// start: run jobs, talk to other servers, or read the cache back in. A clone
// does none of it, and does not wait for it.
var harmful = map[string]string{
	"bdr":                 "replicates",
	"pg_auto_failover":    "talks to a monitor",
	"pg_cron":             "runs jobs",
	"pg_dbms_job":         "runs jobs",
	"pg_failover_slots":   "replicates",
	"pg_net":              "opens connections",
	"pg_partman_bgw":      "runs jobs",
	"pg_prewarm":          "reads the cache of production back at start",
	"pg_squeeze":          "runs jobs",
	"pg_task":             "runs jobs",
	"pgactive":            "replicates",
	"pgautofailover":      "talks to a monitor",
	"pglogical":           "replicates",
	"pglogical_output":    "replicates",
	"pgmemcache":          "opens connections",
	"powa":                "runs jobs",
	"repmgr":              "talks to other servers",
	"sepgsql":             "needs SELinux's policy of production",
	"spock":               "replicates",
	"worker_spi":          "runs jobs",
	"basebackup_to_shell": "runs commands",
	"basic_archive":       "archives",
}

// counting is the library that counts statements. It does so only if it is loaded
// at start, which takes time and memory that few clones have a use for.
const counting = "pg_stat_statements"

// withLibrary returns a list with a library in it.
func withLibrary(list, library string) string {
	load := splitLibraries(list)
	if slices.ContainsFunc(load, func(item string) bool { return libraryName(item) == library }) {
		return list
	}
	return strings.Join(append(load, library), ",")
}

// splitLibraries splits a list as shared_preload_libraries has it.
func splitLibraries(list string) []string {
	var out []string
	for item := range strings.SplitSeq(list, ",") {
		if item = strings.Trim(item, " \t\""); item != "" {
			out = append(out, item)
		}
	}
	return out
}

// libraryName is the name of a library without the directory and ending that
// settings may give it.
func libraryName(item string) string {
	return strings.TrimSuffix(path.Base(strings.TrimPrefix(item, "$libdir/")), ".so")
}

// whyNotLoaded returns why clones do not load a library that the source's
// settings name; "" if they do.
func whyNotLoaded(item string) string {
	if strings.Contains(strings.TrimPrefix(item, "$libdir/"), "/") {
		return "is a path, and only libraries of the image are loaded"
	}
	name := libraryName(item)
	if !plainName.MatchString(name) {
		return "is not the name of a library"
	}
	return harmful[name]
}

var plainName = regexp.MustCompile(`^[A-Za-z0-9_+-][A-Za-z0-9_.+-]*$`)

// maxLibraries bounds how many a server is told to load.
const maxLibraries = 64

// loadable splits a list into the libraries that clones load and, for people,
// those that they do not and why.
func loadable(list []string) (load, refused []string) {
	for _, item := range list {
		if why := whyNotLoaded(item); why != "" {
			refused = append(refused, "library "+item+": "+why)
		} else if len(load) == maxLibraries {
			refused = append(refused, fmt.Sprintf("library %s: there are more than %d", item, maxLibraries))
		} else {
			load = append(load, libraryName(item))
		}
	}
	return load, refused
}
