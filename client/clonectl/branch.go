package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"os/exec"
	"regexp"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/cloned-db/cloned/errs"
)

// maxName is the longest name of a clone, as the API declares it.
const maxName = 63

// nameOfBranch makes the name of a clone from that of a branch: lower case, every
// run of other characters a "-". Where more was lost than a "/", a digest of the
// branch is appended. Two branches that still come to one name, such as a/b and
// a-b, are told apart by the daemon: a clone serves one branch.
func nameOfBranch(branch string) string {
	name := plainName(branch)
	if name == strings.ReplaceAll(branch, "/", "-") && len(name) <= maxName {
		return name
	}
	return withDigest(name, branch)
}

// ownNameOfBranch is for a branch whose usual name another clone has: the digest
// is of what else tells it apart, too.
func ownNameOfBranch(branch string, apart ...string) string {
	return withDigest(plainName(branch), strings.Join(append(apart, branch), "\x00"))
}

func plainName(branch string) string {
	return strings.Trim(otherCharacters.ReplaceAllString(strings.ToLower(branch), "-"), "-")
}

func withDigest(name, of string) string {
	sum := sha256.Sum256([]byte(of))
	digest := hex.EncodeToString(sum[:4])
	name = strings.TrimRight(name[:min(len(name), maxName-len(digest)-1)], "-")
	return strings.TrimLeft(name+"-"+digest, "-")
}

var otherCharacters = regexp.MustCompile(`[^a-z0-9]+`)

// maxAttribute is how many bytes the branch and the owner of a clone may have.
const maxAttribute = 250

// attributeOf is a branch as its clone bears it: the API takes UTF-8 of bounded
// length without control characters, and Git more. Where something was lost a
// digest is appended, after what no name of a branch has in it.
func attributeOf(branch string) string {
	text := strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return utf8.RuneError
		}
		return r
	}, strings.ToValidUTF8(branch, string(utf8.RuneError)))
	if text == branch && len(text) <= maxAttribute {
		return text
	}
	sum := sha256.Sum256([]byte(branch))
	digest := "~" + hex.EncodeToString(sum[:8])
	cut := min(len(text), maxAttribute-len(digest))
	for cut < len(text) && !utf8.RuneStart(text[cut]) {
		cut--
	}
	return text[:cut] + digest
}

// currentBranch returns the branch of the Git checkout that we are in.
func currentBranch(ctx context.Context) (string, error) {
	// Not --short, which says heads/NAME where a tag is called the same.
	out, err := runGit(ctx, "symbolic-ref", "--quiet", "HEAD")
	if err == nil {
		return strings.TrimPrefix(strings.TrimSuffix(out, "\n"), "refs/heads/"), nil
	}
	var exit *exec.ExitError
	if errors.As(err, &exit) && exit.ExitCode() == 1 {
		return "", errs.Fieldf("name", "HEAD is detached, so no branch gives the clone's name").WithHint("name the clone")
	}
	return "", errs.Fieldf("name", "no Git checkout here, whose branch could give the clone's name").WithHint("name the clone")
}

// branchClone is where the repository's configuration has the name of a branch's
// clone, if that is not the usual one. Git forgets it with the branch.
func branchClone(branch string) string { return "branch." + branch + ".clonedClone" }

// branchOrEmpty is the current branch as a clone bears it, or "" where there is
// none.
func branchOrEmpty(ctx context.Context) string {
	branch, err := currentBranch(ctx)
	if err != nil {
		return ""
	}
	return attributeOf(branch)
}
