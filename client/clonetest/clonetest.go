// Package clonetest gives a Go test a database of its own.
//
//	func TestCheckout(t *testing.T) {
//		db := clonetest.New(t, "shop")
//		conn, err := pgx.Connect(t.Context(), db.URL)
//		…
//	}
//
// Each call makes a clone of a golden, in well under a second, however large it
// is, so that each test function can have one, in parallel too. The clone goes
// with the test; if the test is killed, a minute later. The daemon is that of
// CLONED_HOST, or that of this host.
package clonetest

import (
	"context"
	"crypto/rand"
	"os"
	"os/user"
	"regexp"
	"strings"
	"testing"

	"github.com/cloned-db/cloned/client"
	clonedv1 "github.com/cloned-db/cloned/proto/cloned/v1"
)

// Database is a clone for the life of a test. Nobody else knows its password.
type Database struct {
	// URL connects to it: postgresql://user:password@host:port/database.
	URL string
	// Clone has the same in parts (Clone.Endpoint).
	Clone *clonedv1.Clone
}

// New makes a clone of the newest snapshot of the golden; "" is the only golden
// that there is. It ends the test if that fails.
func New(t testing.TB, golden string) *Database {
	t.Helper()
	ctx := t.Context()
	c, err := client.Dial(ctx, "")
	if err != nil {
		t.Fatalf("clonetest: %v", err)
	}
	t.Cleanup(func() { c.Close() }) // nothing is lost if its end is not told
	if golden == "" {
		golden = onlyGolden(t, ctx, c)
	}
	lease, err := c.Lease(ctx, &clonedv1.CreateCloneRequest{
		Name: name(t.Name()), Golden: golden, Owner: owner(), Labels: map[string]string{"test": label(t.Name())},
	})
	if err != nil {
		t.Fatalf("clonetest: a clone of %s: %v", golden, err)
	}
	t.Cleanup(func() {
		if err := lease.Release(); err != nil {
			t.Errorf("clonetest: clone %s was not removed, and goes in a minute: %v", lease.Clone.GetName(), err)
		}
	})
	return &Database{URL: lease.Clone.GetEndpoint().GetUrl(), Clone: lease.Clone}
}

func onlyGolden(t testing.TB, ctx context.Context, c *client.Client) string {
	t.Helper()
	resp, err := c.Goldens.ListGoldens(ctx, &clonedv1.ListGoldensRequest{})
	if err != nil {
		t.Fatalf("clonetest: %v", err)
	}
	if n := len(resp.GetGoldens()); n != 1 {
		t.Fatalf("clonetest: there are %d goldens: name one of them", n)
	}
	return resp.GetGoldens()[0].GetName()
}

var odd = regexp.MustCompile(`[^a-z0-9]+`)

// name makes a clone's name, of at most 63 characters, from that of a test.
func name(test string) string {
	base := strings.Trim(odd.ReplaceAllString(strings.ToLower(test), "-"), "-")
	base = strings.Trim(base[:min(len(base), 50)], "-")
	return strings.TrimLeft(base+"-"+strings.ToLower(rand.Text()[:10]), "-")
}

// label is a test's name as the API takes labels: up to 250 printable bytes.
func label(test string) string {
	test = strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return '?'
		}
		return r
	}, strings.ToValidUTF8(test, "?"))
	return strings.ToValidUTF8(test[:min(len(test), 250)], "")
}

// owner is who runs the test, as clonectl says it.
func owner() string {
	who := "test"
	if u, err := user.Current(); err == nil {
		who = u.Username
	}
	if host, err := os.Hostname(); err == nil {
		who += "@" + host
	}
	return label(who)
}
