package client

import (
	"context"
	"crypto/rand"
	"sync"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/fieldmaskpb"

	"github.com/cloned-db/cloned/errs"
	clonedv1 "github.com/cloned-db/cloned/proto/cloned/v1"
)

// leaseLabel tells the leases of one name apart.
const leaseLabel = "cloned/lease"

// releaseWithin bounds the deletion of a clone when its lease is released.
const releaseWithin = 30 * time.Second

// Lease is a clone that lives as long as its holder: the daemon deletes it when
// Release is called, or a minute after this process has died, whatever killed it.
type Lease struct {
	// Clone is as it was when it became ready, with its credentials.
	Clone *clonedv1.Clone

	c      *Client
	cancel context.CancelFunc
	ended  chan struct{}
	once   sync.Once
	err    error
}

// Lease makes a clone and holds it until Release, over restarts of the daemon too.
// ctx bounds the making only. Of the request, Held is set, and NoWait is not.
// Errors are those of CreateAndWait.
func (c *Client) Lease(ctx context.Context, req *clonedv1.CreateCloneRequest) (*Lease, error) {
	req = proto.CloneOf(req)
	req.Held = true
	// So that no other process's request is the same, and an answer that was lost
	// can be asked for again.
	if req.Labels == nil {
		req.Labels = map[string]string{}
	}
	req.Labels[leaseLabel] = rand.Text()[:10]
	l := &Lease{c: c, ended: make(chan struct{}), Clone: &clonedv1.Clone{Name: req.GetName()}}
	clone, _, err := c.CreateAndWait(ctx, req)
	if err != nil {
		if errs.KindOf(err) != errs.Exists { // it may exist all the same, if only the answer was lost
			close(l.ended)
			l.cancel = func() {}
			_ = l.Release() // and else it goes in a minute
		}
		return nil, err
	}
	l.Clone = clone
	ctx, l.cancel = context.WithCancel(context.WithoutCancel(ctx))
	go func() {
		defer close(l.ended)
		c.hold(ctx, clone.GetName())
	}()
	return l, nil
}

// hold keeps a call of HoldClone open until ctx ends or the clone is gone.
func (c *Client) hold(ctx context.Context, name string) {
	for pause := firstPause; ; pause = nextPause(pause) {
		stream, err := c.Clones.HoldClone(ctx, &clonedv1.HoldCloneRequest{Name: name})
		for err == nil {
			if _, err = stream.Recv(); err == nil {
				pause = firstPause
			}
		}
		switch errs.KindOf(err) {
		case errs.NotFound, errs.Precondition:
			return // it was deleted, or has another lease by now
		}
		if !sleep(ctx, pause) {
			return
		}
	}
}

// Release deletes the clone; it can't be brought back. It returns when the clone
// is gone for users. To call it again is no error.
func (l *Lease) Release() error {
	l.once.Do(func() {
		ctx, cancel := context.WithTimeout(context.Background(), releaseWithin)
		defer cancel()
		l.err = l.c.retry(ctx, func() error {
			_, err := l.c.Clones.DeleteClone(ctx, &clonedv1.DeleteCloneRequest{Name: l.Clone.GetName(), Now: true, NoWait: true})
			return err
		})
		if errs.Is(l.err, errs.NotFound) {
			l.err = nil
		}
		l.cancel()
		<-l.ended
	})
	return l.err
}

// Keep lets the clone live on for the time, whatever becomes of its holder.
func (l *Lease) Keep(ctx context.Context, ttl time.Duration) error {
	_, err := l.c.Clones.UpdateClone(ctx, &clonedv1.UpdateCloneRequest{
		Name: l.Clone.GetName(), Ttl: durationpb.New(ttl), UpdateMask: &fieldmaskpb.FieldMask{Paths: []string{"ttl"}},
	})
	if err == nil {
		l.once.Do(func() {
			l.cancel()
			<-l.ended
		})
	}
	return err
}
