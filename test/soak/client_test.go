package soak

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/cloned-db/cloned/client"
	"github.com/cloned-db/cloned/errs"
	clonedv1 "github.com/cloned-db/cloned/proto/cloned/v1"
)

// worker is a client that makes, uses and deletes clones, one after the other.
type worker struct {
	name   string
	api    *client.Client
	tally  *tally
	orders int64 // that are in the golden
}

// retryFor is how long a client tries again what a retry may cure, as the client
// library does by default.
const retryFor = client.DefaultRetryFor

// run goes on until ctx ends. What was begun then is finished.
func (w *worker) run(ctx context.Context) {
	for n := 0; ctx.Err() == nil; n++ {
		if err := w.cycle(fmt.Sprintf("%s-%d", w.name, n), n); err != nil {
			w.tally.uncured(err)
		}
	}
}

// cycle is the life of a clone.
func (w *worker) cycle(name string, n int) error {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	c, err := w.create(ctx, &clonedv1.CreateCloneRequest{Name: name, Golden: golden})
	if err == nil {
		err = w.use(ctx, c, n)
	}
	return errorsOf(name, err, w.remove(ctx, name))
}

func errorsOf(name string, list ...error) error {
	for _, err := range list {
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	return nil
}

// use writes to a clone and reads it back, and now and then resets or forks it.
func (w *worker) use(ctx context.Context, c *clonedv1.Clone, n int) error {
	if err := w.fresh(ctx, c); err != nil {
		return fmt.Errorf("new: %w", err)
	}
	if err := w.write(ctx, c); err != nil {
		return err
	}
	if n%5 == 4 {
		if err := w.fork(ctx, c); err != nil {
			return err
		}
	}
	if n%3 != 2 {
		return nil
	}
	var back *clonedv1.Clone
	err := w.call("reset", func() error {
		resp, err := w.api.Clones.ResetClone(ctx, &clonedv1.ResetCloneRequest{Name: c.GetName()})
		back = resp.GetClone()
		return err
	})
	if err != nil {
		return err
	}
	if err := w.fresh(ctx, back); err != nil {
		return fmt.Errorf("reset: %w", err)
	}
	return nil
}

// fork takes a snapshot of a clone and forks it: the fork has what the clone has,
// and what is written to it is not in the clone.
func (w *worker) fork(ctx context.Context, c *clonedv1.Clone) error {
	name, fork := c.GetName(), c.GetName()+"-fork"
	err := w.call("snapshot", func() error {
		_, err := w.api.Clones.SnapshotClone(ctx, &clonedv1.SnapshotCloneRequest{Name: name, Snapshot: "v1"})
		return but(errs.Exists, err) // the first attempt has taken it
	})
	if err != nil {
		return err
	}
	f, err := w.create(ctx, &clonedv1.CreateCloneRequest{Name: fork, From: name, Snapshot: "v1"})
	if err == nil {
		err = w.reads(ctx, f, "SELECT who FROM mine", name)
	}
	if err == nil {
		_, err = w.sql(ctx, f, "UPDATE mine SET who = 'fork' RETURNING who")
	}
	if err == nil {
		err = w.reads(ctx, c, "SELECT who FROM mine", name)
	}
	return errorsOf(fork, err, w.remove(ctx, fork))
}

func (w *worker) create(ctx context.Context, req *clonedv1.CreateCloneRequest) (c *clonedv1.Clone, err error) {
	err = w.timed("create", func() error {
		c, _, err = w.api.CreateAndWait(ctx, req)
		return err
	})
	if err == nil {
		w.tally.made()
	}
	return c, err
}

func (w *worker) remove(ctx context.Context, name string) error {
	return w.call("delete", func() error {
		_, err := w.api.Clones.DeleteClone(ctx, &clonedv1.DeleteCloneRequest{Name: name})
		return but(errs.NotFound, err) // the first attempt has deleted it
	})
}

// but makes an error of the kind none.
func but(kind errs.Kind, err error) error {
	if errs.Is(err, kind) {
		return nil
	}
	return err
}

// call calls the daemon until it answers, as the client library does.
func (w *worker) call(operation string, f func() error) error {
	return w.timed(operation, func() error {
		deadline := time.Now().Add(retryFor)
		for pause := 50 * time.Millisecond; ; pause = min(2*pause, 2*time.Second) {
			err := f()
			if err == nil || !errs.As(err).Retryable || time.Now().After(deadline) {
				return err
			}
			w.tally.retried()
			time.Sleep(pause) // between attempts
		}
	})
}

func (w *worker) timed(operation string, f func() error) error {
	began := time.Now()
	if err := f(); err != nil {
		return fmt.Errorf("%s: %w", operation, err)
	}
	w.tally.took(operation, time.Since(began))
	return nil
}

// fresh checks that a clone has the golden's data and nobody's else.
func (w *worker) fresh(ctx context.Context, c *clonedv1.Clone) error {
	if err := w.reads(ctx, c, "SELECT count(*)::text FROM orders", fmt.Sprint(w.orders)); err != nil {
		return err
	}
	return w.reads(ctx, c, "SELECT coalesce(to_regclass('mine')::text, 'none')", "none")
}

// write gives a clone data of its own.
func (w *worker) write(ctx context.Context, c *clonedv1.Clone) error {
	who, err := w.sql(ctx, c, "CREATE TABLE mine (who text); INSERT INTO mine VALUES ('"+c.GetName()+"') RETURNING who")
	if err == nil && who != c.GetName() {
		err = fmt.Errorf("wrote %q and read %q", c.GetName(), who)
	}
	return err
}

func (w *worker) reads(ctx context.Context, c *clonedv1.Clone, query, want string) error {
	got, err := w.sql(ctx, c, query)
	if err == nil && got != want {
		err = fmt.Errorf("%s: it reads %q, not %q", query, got, want)
	}
	return err
}

// sql runs statements in a session of its own, and returns the one text that the
// last of them gives.
func (w *worker) sql(ctx context.Context, c *clonedv1.Clone, statements string) (text string, err error) {
	err = w.timed("sql", func() error {
		conn, err := pgx.Connect(ctx, c.GetEndpoint().GetUrl())
		if err != nil {
			return err
		}
		defer conn.Close(ctx)
		results, err := conn.PgConn().Exec(ctx, statements).ReadAll()
		if err != nil {
			return err
		}
		text = string(results[len(results)-1].Rows[0][0])
		return nil
	})
	return text, err
}
