package daemon

import (
	"sync"
	"time"

	"golang.org/x/time/rate"

	"github.com/cloned-db/cloned/daemon/auth"
	"github.com/cloned-db/cloned/daemon/control"
	"github.com/cloned-db/cloned/errs"
)

// limits are those of the configuration, and how fast each principal has asked.
type limits struct {
	cfg LimitsConfig

	mu    sync.Mutex
	rates map[string]*rate.Limiter // by principal
}

func newLimits(cfg LimitsConfig) *limits {
	return &limits{cfg: cfg, rates: map[string]*rate.Limiter{}}
}

// of returns the principal with the limits that hold for it: those that the
// configuration has for it by name, else those that it brings, else, for a plain
// user, the default ones.
func (l *limits) of(p auth.Principal) auth.Principal {
	if own, ok := l.cfg.Principals[p.Name]; ok {
		p.Limits = own.limits()
	} else if p.Limits == (control.Limits{}) && p.Role == auth.User {
		p.Limits = l.cfg.Default.limits()
	}
	return p
}

// limits is the setting as the control plane has it.
func (c LimitConfig) limits() control.Limits {
	return control.Limits{
		Clones: c.Clones, MemoryBytes: int64(c.Memory), DiskBytes: int64(c.Disk),
		MaxTTL: time.Duration(c.MaxTTL), RequestsPerMinute: c.RequestsPerMinute,
	}
}

// goldens are the limits of goldens.
func (c LimitsConfig) goldens() map[string]control.Limits {
	out := map[string]control.Limits{}
	for name, limit := range c.Goldens {
		out[name] = limit.limits()
	}
	return out
}

// manyRates is with how many principals those that rest are forgotten.
const manyRates = 1024

// allow refuses a request of a principal that has asked for changes too fast. What
// it may ask in a minute it may ask at once.
func (l *limits) allow(p auth.Principal) error {
	perMinute := p.Limits.RequestsPerMinute
	if perMinute == 0 {
		return nil
	}
	l.mu.Lock()
	limiter := l.rates[p.Name]
	if limiter == nil || limiter.Burst() != perMinute {
		l.forget()
		limiter = rate.NewLimiter(rate.Limit(float64(perMinute)/60), perMinute)
		l.rates[p.Name] = limiter
	}
	l.mu.Unlock()
	if limiter.Allow() {
		return nil
	}
	e := errs.New(errs.Exhausted, "RATE_LIMIT", "%s may ask for %d changes a minute, and has", p.Name, perMinute).
		WithHint("try again in %v, and less often", time.Duration(float64(time.Minute)/float64(perMinute)).Round(time.Second/10))
	e.Retryable = true
	return e
}

// forget drops the rates of principals that could ask for all they may: as many may
// come and go as a CI platform has branches. The lock is held.
func (l *limits) forget() {
	if len(l.rates) < manyRates {
		return
	}
	for name, limiter := range l.rates {
		if limiter.Tokens() >= float64(limiter.Burst()) {
			delete(l.rates, name)
		}
	}
}
