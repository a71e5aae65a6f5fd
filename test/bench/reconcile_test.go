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
	var ready, reads []time.Duration
	for range starts {
		b.e.Kill()
		took, serving, answered := b.restart()
		ready, reads = append(ready, took), append(reads, answered...)
		b.t.Logf("served after %v, had looked at all after %v, %d reads between", serving, took, len(answered))
		if len(answered) == 0 && took-serving > time.Second/2 {
			b.t.Errorf("it served after %v, had looked at all after %v, and no read was answered between", serving, took)
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
	_, err := b.api.DeleteClones(b.t.Context(), &clonedv1.DeleteClonesRequest{Filter: &clonedv1.CloneFilter{Golden: golden}})
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
// that took, after what time it served, and how long each read took that was
// answered before.
func (b *bench) restart() (took, serving time.Duration, reads []time.Duration) {
	b.t.Helper()
	ctx, cancel := context.WithCancel(b.t.Context())
	var wg sync.WaitGroup
	began := time.Now()
	wg.Go(func() {
		for ; ctx.Err() == nil; pause(ctx) {
			// A new one each time: one that has failed waits before it tries again.
			api, err := client.Dial(ctx, "unix://"+b.e.Socket)
			if err != nil {
				continue
			}
			asked := time.Now()
			if _, err := api.Clones.GetClone(ctx, &clonedv1.GetCloneRequest{Name: "many-0"}); err == nil && ctx.Err() == nil {
				reads = append(reads, time.Since(asked))
			}
			api.Close()
		}
	})
	wg.Go(func() {
		defer cancel()
		for ; ctx.Err() == nil; pause(ctx) {
			resp, err := http.Get(b.e.Metrics + "/readyz")
			if err != nil {
				continue
			}
			resp.Body.Close()
			took = time.Since(began)
			if serving == 0 {
				serving = took
			}
			if resp.StatusCode == http.StatusOK {
				return
			}
		}
	})
	b.e.Start()
	wg.Wait()
	return took, serving, reads
}

// pause is between two looks.
func pause(ctx context.Context) {
	select {
	case <-ctx.Done():
	case <-time.After(5 * time.Millisecond):
	}
}
