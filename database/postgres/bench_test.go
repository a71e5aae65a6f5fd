package postgres

import (
	"context"
	"strconv"
	"testing"
	"time"

	"github.com/cloned-db/cloned/database"
)

// BenchmarkClone measures what the engine adds to a clone that runs as a plain
// process, in milliseconds: until the first answer, and until it is claimed.
func BenchmarkClone(b *testing.B) {
	s := newSource(b)
	w := processWorld(b)
	v, facts, prepared := w.golden(s.directory(), nil)
	var ready, claim time.Duration
	for b.Loop() {
		w.volume++
		b.StopTimer()
		id := "c-" + strconv.Itoa(w.volume)
		of := v
		of.Path = w.dir + "/" + id
		run(b, "cp", "-a", v.Path, of.Path)
		req := database.StartRequest{ID: id, Volume: of, Runtime: w.rt, Facts: facts, Prepared: prepared, PublishAddr: "127.0.0.1", PublishPort: freePort(b)}
		target := database.Target{ID: id, VolumePath: of.Path, DataDir: of.DataDir, Addr: "127.0.0.1", Port: req.PublishPort, Database: prepared.Database, Role: role, Password: "secret"}
		b.StartTimer()
		begin := time.Now()
		if err := w.rt.Start(b.Context(), w.engine.Spec(req)); err != nil {
			b.Fatal(err)
		}
		if err := w.rt.WaitReady(b.Context(), id, func(ctx context.Context) error { return w.engine.Ready(ctx, target) }); err != nil {
			b.Fatal(err)
		}
		ready += time.Since(begin)
		begin = time.Now()
		if err := w.engine.Claim(b.Context(), target); err != nil {
			b.Fatal(err)
		}
		claim += time.Since(begin)
		b.StopTimer()
		if err := w.rt.Remove(b.Context(), id); err != nil {
			b.Fatal(err)
		}
		run(b, "rm", "-r", of.Path)
		b.StartTimer()
	}
	perClone := func(d time.Duration) float64 { return d.Seconds() * 1000 / float64(b.N) }
	b.ReportMetric(perClone(ready), "ready-ms")
	b.ReportMetric(perClone(claim), "claim-ms")
}
