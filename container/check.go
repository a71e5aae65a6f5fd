package container

import (
	"path/filepath"
	"regexp"

	"github.com/cloned-db/cloned/errs"
)

// idPattern is what IDs look like: safe as a path element and in a Docker name.
var idPattern = regexp.MustCompile(`^[a-z0-9][a-z0-9-]{0,62}$`)

// CheckID returns errs.Invalid if id can't name an instance or a task: 1 to 63
// of a-z, 0-9 and "-", not starting with "-".
func CheckID(id string) error {
	if !idPattern.MatchString(id) {
		return errs.New(errs.Invalid, "INVALID_ID", "instance ID %q: must be 1 to 63 of a-z, 0-9 and -, not starting with -", id)
	}
	return nil
}

// Check returns errs.Invalid if no runtime could start s.
func (s Spec) Check() error {
	if s.PublishPort < 0 || s.PublishPort > 65535 || s.Port < 0 || s.Port > 65535 {
		return errs.New(errs.Invalid, "INVALID_SPEC", "instance %s: ports must be between 0 and 65535", s.ID)
	}
	return check(s.ID, s.Image, s.Argv, s.Volume)
}

// Check returns errs.Invalid if no runtime could run t.
func (t Task) Check() error { return check(t.ID, t.Image, t.Argv, t.Volume) }

func check(id, image string, argv []string, volume string) error {
	if err := CheckID(id); err != nil {
		return err
	}
	if image == "" {
		return errs.New(errs.Invalid, "INVALID_SPEC", "%s: no image", id)
	}
	if len(argv) == 0 || argv[0] == "" {
		return errs.New(errs.Invalid, "INVALID_SPEC", "%s: no command", id)
	}
	if volume != "" && !filepath.IsAbs(volume) {
		return errs.New(errs.Invalid, "INVALID_SPEC", "%s: the path of the volume, %q, is not absolute", id, volume)
	}
	return nil
}
