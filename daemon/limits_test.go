package daemon

import (
	"fmt"
	"testing"
	"time"

	"github.com/cloned-db/cloned/daemon/auth"
	"github.com/cloned-db/cloned/daemon/control"
	"github.com/cloned-db/cloned/errs"
)

// TestLimitsOf: the configuration's by name come first, then a principal's own,
// then, for plain users, the default.
func TestLimitsOf(t *testing.T) {
	l := newLimits(LimitsConfig{
		Default:    LimitConfig{Clones: 1, MaxTTL: Duration(time.Hour)},
		Principals: map[string]LimitConfig{"token:named": {Clones: 2}, "unix:root": {}},
	})
	own := control.Limits{Clones: 3}
	for _, c := range []struct {
		p    auth.Principal
		want control.Limits
	}{
		{auth.Principal{Name: "token:named", Role: auth.User, Limits: own}, control.Limits{Clones: 2}},
		{auth.Principal{Name: "token:own", Role: auth.User, Limits: own}, own},
		{auth.Principal{Name: "unix:ann", Role: auth.User}, control.Limits{Clones: 1, MaxTTL: time.Hour}},
		{auth.Principal{Name: "unix:op", Role: auth.Operator}, control.Limits{}},
		{auth.Principal{Name: "unix:root", Role: auth.User}, control.Limits{}},
	} {
		if got := l.of(c.p); got.Limits != c.want || got.Name != c.p.Name {
			t.Errorf("%s: %+v, want %+v", c.p.Name, got, c.want)
		}
	}
}

// TestRate: each principal may ask for so many changes, and that holds nobody else
// up; who has come and gone is forgotten.
func TestRate(t *testing.T) {
	l := newLimits(LimitsConfig{})
	slow := auth.Principal{Name: "token:slow", Limits: control.Limits{RequestsPerMinute: 3}}
	for range 3 {
		if err := l.allow(slow); err != nil {
			t.Fatal(err)
		}
	}
	err := l.allow(slow)
	if !errs.Is(err, errs.Exhausted) || errs.As(err).Reason != "RATE_LIMIT" || !errs.As(err).Retryable {
		t.Errorf("the fourth: %v", err)
	}
	free := auth.Principal{Name: "token:free"}
	for range 100 {
		if err := l.allow(free); err != nil {
			t.Fatal(err)
		}
	}
	for i := range 3 * manyRates {
		p := auth.Principal{Name: fmt.Sprint("oidc:", i), Limits: control.Limits{RequestsPerMinute: 1 << 30}}
		if err := l.allow(p); err != nil {
			t.Fatal(err)
		}
	}
	if n := len(l.rates); n > manyRates {
		t.Errorf("%d principals are remembered", n)
	}
	if err := l.allow(slow); err == nil {
		t.Error("who has asked too often was forgotten")
	}
}
