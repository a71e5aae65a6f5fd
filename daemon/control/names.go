package control

import (
	"crypto/rand"
	"encoding/base32"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/cloned-db/cloned/errs"
	"github.com/cloned-db/cloned/state"
	"github.com/cloned-db/cloned/storage"
)

// How things outside are named, so that a name alone says whose it is:
//
//	c-<clone ID>-<generation>   a clone's volume, and its instance
//	c-<clone ID>-<generation>@<snapshot ID>
//	                            the driver's snapshot that is a snapshot of a clone
//	g-<snapshot ID>             the volume of a golden's snapshot
//	g-<snapshot ID>@ready       the driver's snapshot of it, which is cloned
//	<snapshot ID>               our snapshot in a foreign dataset
//	t-<snapshot ID>-…           a task of a refresh

// readyID is the ID of the driver's snapshot in a golden snapshot's volume.
const readyID = "ready"

// idLength is how many characters an ID has: 50 random bits.
const idLength = 10

var (
	idAlphabet = base32.NewEncoding("abcdefghijklmnopqrstuvwxyz234567").WithPadding(base32.NoPadding)
	isID       = regexp.MustCompile(`^[a-z2-7]{10}$`).MatchString
	isName     = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]*[a-z0-9])?$`).MatchString
	isLabelKey = regexp.MustCompile(`^[A-Za-z0-9]([A-Za-z0-9._/-]*[A-Za-z0-9])?$`).MatchString
)

// newID returns an ID that nothing ever had. crypto/rand.Read does not fail.
func newID() string {
	raw := make([]byte, 8)
	_, _ = rand.Read(raw)
	return idAlphabet.EncodeToString(raw)[:idLength]
}

// cloneName names a generation's volume and instance.
func cloneName(id string, generation int64) string {
	return fmt.Sprintf("c-%s-%d", id, generation)
}

// parseCloneName is the inverse of cloneName.
func parseCloneName(name string) (id string, generation int64, ok bool) {
	rest, isClone := strings.CutPrefix(name, "c-")
	id, number, _ := strings.Cut(rest, "-")
	generation, err := strconv.ParseInt(number, 10, 64)
	ok = isClone && err == nil && generation > 0 && isID(id) && cloneName(id, generation) == name
	return id, generation, ok
}

func goldenVolume(snapshot string) string { return "g-" + snapshot }

// parseGoldenVolume is the inverse of goldenVolume.
func parseGoldenVolume(name string) (snapshot string, ok bool) {
	snapshot, ok = strings.CutPrefix(name, "g-")
	return snapshot, ok && isID(snapshot)
}

func taskPrefix(snapshot string) string { return "t-" + snapshot }

// parseTask returns the snapshot whose refresh a task belongs to.
func parseTask(name string) (snapshot string, ok bool) {
	rest, isTask := strings.CutPrefix(name, "t-")
	snapshot, _, _ = strings.Cut(rest, "-")
	return snapshot, isTask && isID(snapshot)
}

// refOf is what clones of a snapshot are cloned from.
func refOf(s state.Snapshot) storage.SnapshotRef {
	if s.Clone != "" {
		return storage.SnapshotRef{Source: storage.Own(cloneName(s.Clone, s.Generation)), ID: s.ID}
	}
	return readyRef(s.ID)
}

// readyRef is what clones of a golden's snapshot are cloned from.
func readyRef(snapshot string) storage.SnapshotRef {
	return storage.SnapshotRef{Source: storage.Own(goldenVolume(snapshot)), ID: readyID}
}

// foreignRef is our snapshot in the foreign dataset of an in-place source.
func foreignRef(s state.Snapshot) storage.SnapshotRef {
	return storage.SnapshotRef{Source: storage.Source{Foreign: s.Foreign}, ID: s.ID}
}

// checkName validates the name of a clone or golden.
func checkName(field, name string) error {
	if len(name) > 63 || !isName(name) {
		return errs.Fieldf(field, "%q must be 1 to 63 of a-z, 0-9 and -, starting and ending with a letter or digit", name)
	}
	return nil
}

// checkText validates a branch, an owner or a label's value.
func checkText(field, text string) error {
	if len(text) > 250 || !utf8.ValidString(text) || strings.ContainsFunc(text, unicode.IsControl) {
		return errs.Fieldf(field, "must be at most 250 bytes of UTF-8 without control characters")
	}
	return nil
}

func checkLabels(labels map[string]string) error {
	if len(labels) > 64 {
		return errs.Fieldf("labels", "there are %d, and 64 are allowed", len(labels))
	}
	for key, value := range labels {
		if len(key) > 63 || !isLabelKey(key) {
			return errs.Fieldf("labels", "key %q must be 1 to 63 of A-Z, a-z, 0-9, ., _, / and -, starting and ending with a letter or digit", key)
		}
		if err := checkText("labels."+key, value); err != nil {
			return err
		}
	}
	return nil
}
