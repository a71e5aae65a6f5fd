package bench

import (
	"context"
	"fmt"
	"net/http"
	"sync"
	"time"

	"github.com/cloned-db/cloned/client"
	clonedv1 "github.com/cloned-db/cloned/proto/cloned/v1"
)

const (
	// many is how many clones are there when the daemon starts.
	many   = 500
	starts = 5
	// reconcileBound is the most that its first pass may take, in ms.
	reconcileBound = 5000
)

// reconcile measures how long a daemon that was killed takes, from its start, to
// have looked at very many running clones, and how long reads take meanwhile.
func (b *bench) reconcile(golden string) {
	b.t.Helper()
	b.many(golden)
	api, err := client.Dial(b.t.Context(), "unix://"+b.e.Socket)
	b.check(err)
	defer api.Close()
	var ready, reads []time.Duration
	for range starts {
		b.e.Kill()
		took, answered := b.restart(api)
		ready, reads = append(ready, took), append(reads, answered...)
		if len(answered) == 0 && took > time.Second {
			b.t.Errorf("in %v no read was answered", took)
		}
	}
	b.rows.within(reconcileBound, fmt.Sprintf("%s/start_with_%d_clones", b.env, many), ready, nil)
	if len(reads) > 0 {
		b.rows.add(fmt.Sprintf("%s/read_while_starting_with_%d_clones", b.env, many), reads, nil)
	}
	if list := b.e.List(); len(list) != many {
		b.t.Errorf("%d clones are there", len(list))
	} else {
		for _, c := range list {
			if c.State != "CLONE_STATE_READY" || c.Restarts > 0 {
				b.t.Errorf("%s is %s after %d restarts", c.Name, c.State, c.Restarts)
			}
		}
	}
	_, err = api.Clones.DeleteClones(b.t.Context(), &clonedv1.DeleteClonesRequest{Filter: &clonedv1.CloneFilter{Golden: golden}})
	b.check(err)
}

// many makes the clones, some at once.
func (b *bench) many(golden string) {
	b.t.Helper()
	var wg sync.WaitGroup
	failed := make([]error, crowd)
	for i := range crowd {
		wg.Go(func() {
			for n := i; n < many && failed[i] == nil; n += crowd {
				failed[i] = b.create(b.t.Context(), fmt.Sprintf("many-%d", n), golden)
			}
		})
	}
	wg.Wait()
	for _, err := range failed {
		b.check(err)
	}
}

// restart starts the daemon, and returns when its first pass is over: how long
// that took, and how long the reads that were answered before.
func (b *bench) restart(api *client.Client) (took time.Duration, reads []time.Duration) {
	b.t.Helper()
	ctx, cancel := context.WithCancel(b.t.Context())
	var wg sync.WaitGroup
	began := time.Now()
	wg.Go(func() {
		for ctx.Err() == nil {
			asked := time.Now()
			_, err := api.Clones.GetClone(ctx, &clonedv1.GetCloneRequest{Name: "many-0"})
			if err == nil && ctx.Err() == nil {
				reads = append(reads, time.Since(asked))
			}
			pause(ctx)
		}
	})
	wg.Go(func() {
		defer cancel()
		for ctx.Err() == nil {
			resp, err := http.Get(b.e.Metrics + "/readyz")
			if err == nil {
				resp.Body.Close()
				if took = time.Since(began); resp.StatusCode == http.StatusOK {
					return
				}
			}
			pause(ctx)
		}
	})
	b.e.Start()
	wg.Wait()
	return took, reads
}

// pause is between two looks.
func pause(ctx context.Context) {
	select {
	case <-ctx.Done():
	case <-time.After(5 * time.Millisecond):
	}
}
