package bench

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/cloned-db/cloned/client/clonetest"
	clonedv1 "github.com/cloned-db/cloned/proto/cloned/v1"
)

// changedMB is how much is written before the changes are asked for.
const changedMB = 10

// changes measures how long it takes to say what was written to a clone. What
// is written is rows here and there in a large table. bound is in milliseconds.
func (b *bench) changes(golden, suffix string, bound float64, n int) {
	b.t.Helper()
	if b.e.Driver == "dir" {
		return // it does not know what changed
	}
	ctx := b.t.Context()
	b.check(b.create(ctx, "changed", golden))
	// Of a row of 7 KB an update writes 7 KB at the end and, where the old one is,
	// at least a block: twice what it changes.
	b.write("changed", fmt.Sprintf(`UPDATE filler SET payload = reverse(payload) WHERE id IN
		(SELECT id FROM filler ORDER BY md5(id::text) LIMIT %d)`, changedMB*128))
	var took []time.Duration
	for range n {
		var resp *clonedv1.GetChangesResponse
		took = append(took, b.took(func() (err error) {
			resp, err = b.api.GetChanges(ctx, &clonedv1.GetChangesRequest{Name: "changed"})
			return err
		}))
		var written int64
		for _, r := range resp.Relations {
			if r.Kind == "table" || r.Kind == "toast" {
				written += r.WrittenBytes
			}
		}
		if written < changedMB<<20 {
			b.t.Fatalf("%d bytes of tables changed, and %d MB were written: %v", written, changedMB, resp)
		}
	}
	b.rows.within(bound, b.env+"/changes"+suffix, took, nil)
	b.remove(ctx, "changed")
}

// undo measures resets beside creates from the golden where what a reset replaces
// is kept, as it is by default.
func (b *bench) undo(golden string, n int) {
	b.t.Helper()
	ctx := b.t.Context()
	var create, reset []time.Duration
	for i := range n + 1 {
		name := b.name()
		created := b.took(func() error { return b.create(ctx, name, golden) })
		b.write(name, "CREATE TABLE mine AS SELECT generate_series(1, 1000) AS id")
		resetTook := b.took(func() error {
			resp, err := b.api.ResetClone(ctx, &clonedv1.ResetCloneRequest{Name: name})
			if err == nil && (resp.Clone.State != clonedv1.CloneState_CLONE_STATE_READY || len(resp.Clone.Kept) != 1) {
				err = fmt.Errorf("%s: %v, kept %v", name, resp.Clone.State, resp.Clone.Kept)
			}
			return err
		})
		_, err := b.api.DeleteClone(ctx, &clonedv1.DeleteCloneRequest{Name: name, Now: true})
		b.check(err)
		if i > 0 { // the first of each warms caches
			create, reset = append(create, created), append(reset, resetTook)
		}
	}
	b.rows.within(1.25, b.env+"/reset_vs_create", reset, create)
}

// block is how many tests, or creates, follow on one another.
const block = 10

// tests measures tests that have a database each, from the beginning of one to
// that of the next, beside creates. They take turns in blocks, for what one test
// leaves to be removed is removed during the next.
func (b *bench) tests(golden string, n int) {
	b.t.Helper()
	ctx := b.t.Context()
	b.t.Setenv("CLONED_HOST", "unix://"+b.e.Socket)
	clones := len(b.e.List()) + len(b.e.Deleted())
	nothingLeft := func() {
		b.t.Helper()
		b.e.CheckNothingLeft()
		if now := len(b.e.List()) + len(b.e.Deleted()); now != clones {
			b.t.Fatalf("there are %d clones, and before the tests there were %d", now, clones)
		}
	}
	nothingLeft() // of what came before
	var test, create []time.Duration
	for i := range n/block + 1 {
		var creates, tests []time.Duration
		for range block {
			name := b.name()
			creates = append(creates, b.took(func() error {
				resp, err := b.api.CreateClone(ctx, &clonedv1.CreateCloneRequest{Name: name, Golden: golden})
				if err != nil {
					return err
				}
				return use(ctx, resp.Clone.Endpoint.Url)
			}))
			b.remove(ctx, name)
		}
		nothingLeft()
		for range block {
			tests = append(tests, b.took(func() error {
				if !b.t.Run("test", func(t *testing.T) {
					if err := use(t.Context(), clonetest.New(t, golden).URL); err != nil {
						t.Error(err)
					}
				}) {
					return fmt.Errorf("a test failed")
				}
				return nil
			}))
		}
		nothingLeft()
		if i > 0 { // the first of each warms caches
			test, create = append(test, tests...), append(create, creates...)
		}
	}
	row := beside(1.25, b.env+"/clonetest_mean_vs_create", test, create)
	row.Ratio = float64(mean(test)) / float64(mean(create))
	b.rows.put(row)
}

// use does the least that a test does with its database.
func use(ctx context.Context, url string) error {
	conn, err := pgx.Connect(ctx, url)
	if err != nil {
		return err
	}
	defer conn.Close(ctx)
	_, err = conn.Exec(ctx, "CREATE TABLE mine (x int)")
	return err
}
