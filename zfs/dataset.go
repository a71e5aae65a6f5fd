package zfs

import (
	"context"
	"errors"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/cloned-db/cloned/errs"
)

// dataset is what ZFS said of a file system or snapshot.
type dataset struct {
	name string
	// properties holds the properties asked for, by name.
	properties map[string]property
}

type property struct {
	value string
	// source is where the value was set: "local", "default", "-", "received",
	// "temporary" or "inherited from …".
	source string
}

// Properties that a dataset of ours is born with.
const (
	// markProperty says which instance made it.
	markProperty = "cloned:instance"
	// createdProperty says when, in RFC 3339. ZFS's own "creation" would cost a
	// second command after a clone, and has whole seconds only.
	createdProperty = "cloned:created"
)

// volumeProperties is what the driver wants to know of a volume or a snapshot.
var volumeProperties = []string{markProperty, createdProperty, "origin", "mounted"}

// detailProperties is what it wants to know of a single volume.
var detailProperties = append(slices.Clone(volumeProperties), "written", "logicalreferenced")

// ours reports whether the dataset bears the mark of the instance, set on
// itself: snapshots and children inherit the mark of what they are under.
func (s dataset) ours(instance string) bool {
	return s.properties[markProperty] == property{value: instance, source: "local"}
}

// value returns a property; "-" is what ZFS says for "none".
func (s dataset) value(name string) string { return s.properties[name].value }

// numbers returns two properties that are numbers.
func (s dataset) numbers(first, second string) (a, b int64, err error) {
	a, errA := strconv.ParseInt(s.value(first), 10, 64)
	b, errB := strconv.ParseInt(s.value(second), 10, 64)
	if err := errors.Join(errA, errB); err != nil {
		return 0, 0, errs.New(errs.Internal, reasonOutput, "zfs properties %s and %s of %s: %w", first, second, s.name, err)
	}
	return a, b, nil
}

// created returns when the dataset was made.
func (s dataset) created() (time.Time, error) {
	at, err := time.Parse(time.RFC3339Nano, s.value(createdProperty))
	if err != nil {
		return time.Time{}, errs.New(errs.Internal, reasonOutput, "zfs property %s of %s: %w", createdProperty, s.name, err)
	}
	return at, nil
}

// getArgv is the command that asks for properties of the datasets that selects
// selects: options, and a name as the last.
func getArgv(properties []string, selects ...string) []string {
	argv := append([]string{"zfs", "get", "-Hp", "-o", "name,property,value,source"}, selects[:len(selects)-1]...)
	return append(argv, strings.Join(properties, ","), selects[len(selects)-1])
}

// describe asks for properties of one dataset. Its errs.NotFound is certain.
func (d *Driver) describe(ctx context.Context, name string, properties []string) (dataset, error) {
	out, err := d.read(ctx, "get", getArgv(properties, name)...)
	if err != nil {
		return dataset{}, err
	}
	return parseOne(out, properties, name)
}

func parseOne(out []byte, properties []string, name string) (dataset, error) {
	found, err := parseGet(out, properties)
	if err != nil {
		return dataset{}, err
	}
	if len(found) != 1 || found[0].name != name {
		return dataset{}, errs.New(errs.Internal, reasonOutput, "zfs get %s described %d datasets", name, len(found))
	}
	return found[0], nil
}

// parseGet reads the answer of `zfs get -Hp -o name,property,value,source`: a
// line for each of the properties, in their order, dataset after dataset. It
// takes the whole answer or none of it: a part of it is never a list.
func parseGet(out []byte, properties []string) ([]dataset, error) {
	var found []dataset
	if len(out) == 0 {
		return nil, nil
	}
	text, whole := strings.CutSuffix(string(out), "\n")
	if !whole {
		return nil, errs.New(errs.Internal, reasonOutput, "the answer of zfs get ends within a line")
	}
	lines := strings.Split(text, "\n")
	if len(lines)%len(properties) != 0 {
		return nil, errs.New(errs.Internal, reasonOutput, "zfs get answered %d lines, not a multiple of %d", len(lines), len(properties))
	}
	for i, line := range lines {
		fields := strings.Split(line, "\t")
		want := properties[i%len(properties)]
		if len(fields) != 4 || fields[1] != want {
			return nil, errs.New(errs.Internal, reasonOutput, "zfs get answered %q where property %s was expected", line, want)
		}
		if i%len(properties) == 0 {
			found = append(found, dataset{name: fields[0], properties: map[string]property{}})
		}
		last := found[len(found)-1]
		if fields[0] != last.name {
			return nil, errs.New(errs.Internal, reasonOutput, "zfs get answered %q where %s was expected", line, last.name)
		}
		last.properties[want] = property{value: fields[2], source: fields[3]}
	}
	return found, nil
}
