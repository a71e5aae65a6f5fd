package control_test

import (
	"fmt"
	"slices"
	"time"
)

// shops are what the newest snapshot of the shared golden may have held during a
// batch in which the operator did that.
func (m *model) shops(done []modelOp) []string {
	contents := []string{newest(m.worlds[operator][0].goldens[shared])}
	for _, op := range done {
		w := m.worlds[operator][0].copy()
		if op.becomes(w, modelCall{}) == "" {
			contents = append(contents, newest(w.goldens[shared]))
		}
	}
	return contents
}

// note works out what a client's world may be after an operation.
func (m *model) note(client string, r result, shops []string, broken bool) {
	reason, answered := r.refused()
	if reason == brokenPromise {
		m.t.Fatalf("%s: %s: %v", client, r.op.name, r.err)
	}
	if !answered || r.op.last { // it may have been done later
		r.at.to = time.Now()
	}
	var sure, maybe []*modelWorld
	for _, w := range m.worlds[client] {
		// Each time but the last it may have been done, without an answer.
		reached := []*modelWorld{w}
		for try := range r.tried {
			for _, before := range slices.Clone(reached) {
				for _, k := range m.calls(r, shops, broken) {
					after := before.copy()
					refused := r.op.becomes(after, k)
					if refused != "" && refused != gaveWay {
						after = before.copy()
					}
					if answered && refused == reason && try == r.tried-1 {
						sure = append(sure, after)
					}
					reached = append(reached, after)
				}
			}
			reached = distinct(reached)
		}
		maybe = append(maybe, reached...)
	}
	switch {
	case len(sure) > 0:
		m.worlds[client] = distinct(sure)
	case broken:
		m.worlds[client] = distinct(maybe)
	default:
		m.t.Fatalf("%s: %s: %v: it should not have been answered so in\n%v", client, r.op.name, r.err, m.worlds[client])
	}
}

func (m *model) calls(r result, shops []string, broken bool) (all []modelCall) {
	for _, shop := range shops {
		for _, fails := range []bool{false, true} {
			if !fails || broken {
				all = append(all, modelCall{at: r.at, shop: shop, fails: fails, keep: m.keep})
			}
		}
	}
	return all
}

func distinct(worlds []*modelWorld) (out []*modelWorld) {
	seen := map[string]bool{}
	for _, w := range worlds {
		if key := fmt.Sprintf("%v%v", w, w.ends()); !seen[key] {
			seen[key] = true
			out = append(out, w)
		}
	}
	return out
}
