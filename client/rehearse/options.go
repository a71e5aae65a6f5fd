package rehearse

import (
	"context"
	"time"

	"github.com/cloned-db/cloned/errs"
)

const (
	defaultInterval = 20 * time.Millisecond
	// maxInterval keeps reports comparable: what is sampled more seldom has
	// missed most of the locks that matter.
	maxInterval = 50 * time.Millisecond
)

// Option changes how a server is watched.
type Option func(*options)

type options struct {
	interval time.Duration
	command  []string
	log      func(context.Context) ([]string, error)
}

// WithInterval sets how often locks are sampled: 20 ms by default, at least
// 1 ms and at most 50 ms.
func WithInterval(d time.Duration) Option { return func(o *options) { o.interval = d } }

// WithCommand names the program and its arguments in the report.
func WithCommand(argv ...string) Option { return func(o *options) { o.command = argv } }

// WithLog gives the server's log: lines is called once, at the end, and returns
// the lines in the format "stderr" that the server wrote since the start. Its
// error becomes a note in the report.
func WithLog(lines func(context.Context) ([]string, error)) Option {
	return func(o *options) { o.log = lines }
}

func newOptions(list []Option) (options, error) {
	o := options{interval: defaultInterval}
	for _, set := range list {
		set(&o)
	}
	if o.interval < time.Millisecond || o.interval > maxInterval {
		return o, errs.Fieldf("interval", "%v is not from 1ms to %v", o.interval, maxInterval)
	}
	return o, nil
}
