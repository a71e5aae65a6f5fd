package control

import (
	"context"
	"sync"
	"time"

	"github.com/cloned-db/cloned/errs"
	"github.com/cloned-db/cloned/storage"
)

// spaceMaxAge is how old a sample of the pool's space may be to be relied upon.
const spaceMaxAge = 30 * time.Second

// space keeps a recent sample of the pool's space, so that a create need not
// ask for it.
type space struct {
	driver storage.Driver
	now    func() time.Time

	mu    sync.Mutex
	last  storage.Space
	taken time.Time
}

func newSpace(d storage.Driver, now func() time.Time) *space { return &space{driver: d, now: now} }

// refresh takes a new sample.
func (s *space) refresh(ctx context.Context) (storage.Space, error) {
	began := s.now()
	got, err := s.driver.Space(ctx)
	if err != nil {
		return storage.Space{}, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.last, s.taken = got, began
	return got, nil
}

// sample returns the last sample and whether it is recent.
func (s *space) sample() (storage.Space, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	age := s.now().Sub(s.taken)
	return s.last, !s.taken.IsZero() && age >= 0 && age <= spaceMaxAge
}

// check refuses if what is free is less than need more than the floor. It looks
// anew before it refuses.
func (s *space) check(ctx context.Context, need, floor int64) error {
	if have, recent := s.sample(); recent && have.Free-need >= floor {
		return nil
	}
	have, err := s.refresh(ctx)
	if err != nil {
		return err
	}
	if have.Free-need >= floor {
		return nil
	}
	return errs.New(errs.Exhausted, storage.ReasonPoolFull,
		"the pool has %s free of %s; %s are needed, and %s are to stay free", mib(have.Free), mib(have.Total), mib(need), mib(floor)).
		WithHint("delete clones that are not needed (clonectl ls), then snapshots that no clone came from (clonectl snapshot ls)")
}
