package main

import (
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/cloned-db/cloned/client"
	"github.com/cloned-db/cloned/errs"
)

// TestLockClone: one rebase or merge of a clone at a time; a lock that is left
// from who died is none.
func TestLockClone(t *testing.T) {
	f, host := serve(t)
	c, err := client.Dial(t.Context(), host)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	dev := f.put("dev")
	f.put("one").Held = true
	two := f.put("two")
	two.Held = true

	unlock, err := lockClone(t.Context(), c, dev, "one")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := lockClone(t.Context(), c, dev, "two"); errs.As(err).Reason != "BEING_REPLACED" {
		t.Errorf("two at once, by one who read the clone before: %v", err)
	}
	if err := stillLocked(t.Context(), c, dev, "one"); err != nil {
		t.Error(err)
	}

	// Who holds "one" dies: nobody holds it any more, and it is about to expire.
	f.clones["one"].ExpireTime = timestamppb.New(time.Now().Add(time.Minute))
	unlockTwo, err := lockClone(t.Context(), c, f.clones["dev"], "two")
	if err != nil {
		t.Fatalf("a lock that died: %v", err)
	}
	// It was not dead, and finds out; the lock that is there now is not its own.
	if err := stillLocked(t.Context(), c, dev, "one"); errs.As(err).Reason != "BEING_REPLACED" {
		t.Errorf("a lock that was taken over: %v", err)
	}
	unlock()
	if err := stillLocked(t.Context(), c, dev, "two"); err != nil {
		t.Errorf("another's lock was removed: %v", err)
	}
	unlockTwo()
	if labels := f.clones["dev"].Labels; labels[lockLabel] != "" {
		t.Errorf("left: %v", labels)
	}

	// A lock of a clone that is gone; and another clone of the name.
	f.clones["dev"].Labels[lockLabel] = "gone"
	if _, err := lockClone(t.Context(), c, f.clones["dev"], "two"); err != nil {
		t.Errorf("a lock of a clone that is gone: %v", err)
	}
	f.clones["dev"].Id = "another"
	if err := stillLocked(t.Context(), c, dev, "two"); errs.As(err).Reason != "CHANGED" {
		t.Errorf("another clone of the name: %v", err)
	}
}

// TestCommandTimeout: a command that hangs is killed, though nobody said when.
func TestCommandTimeout(t *testing.T) {
	for _, name := range []string{"rebase", "rehearse"} {
		cmd, _, err := newRoot(&app{}).Find([]string{name})
		if err != nil {
			t.Fatal(err)
		}
		if got := cmd.Flags().Lookup("command-timeout").DefValue; got != "1h0m0s" {
			t.Errorf("%s: %s", name, got)
		}
	}
}
