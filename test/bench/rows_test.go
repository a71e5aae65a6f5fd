package bench

import (
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"testing"
	"text/tabwriter"
	"time"
)

// Row is one line of build/bench.json.
type Row struct {
	Name     string  `json:"name"`
	Unit     string  `json:"unit"`
	P50      float64 `json:"p50"`
	P95      float64 `json:"p95"`
	FloorP50 float64 `json:"floor_p50,omitempty"`
	Ratio    float64 `json:"ratio,omitempty"`
	N        int     `json:"n"`
}

// rows collects the rows of a run.
type rows struct{ list []Row }

// add adds durations, in milliseconds, beside those of the floor.
func (r *rows) add(name string, took, floor []time.Duration) Row {
	row := Row{Name: name, Unit: "ms", P50: ms(percentile(took, 50)), P95: ms(percentile(took, 95)), N: len(took)}
	if len(floor) > 0 {
		row.FloorP50 = ms(percentile(floor, 50))
		row.Ratio = row.P50 / row.FloorP50
	}
	return r.put(row)
}

// put adds a row of any unit.
func (r *rows) put(row Row) Row {
	r.list = append(r.list, row)
	fmt.Printf("%-40s p50 %9.1f %-5s p95 %9.1f  floor %9.1f  ratio %5.2f  n %d\n",
		row.Name, row.P50, row.Unit, row.P95, row.FloorP50, row.Ratio, row.N)
	return row
}

// write prints the table and writes the rows to CLONED_BENCH_OUT.
func (r *rows) write(t testing.TB) {
	t.Helper()
	w := tabwriter.NewWriter(os.Stdout, 2, 8, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(w, "name\tunit\tp50\tp95\tfloor p50\tratio\tn\t")
	for _, row := range r.list {
		fmt.Fprintf(w, "%s\t%s\t%.1f\t%.1f\t%.1f\t%.2f\t%d\t\n", row.Name, row.Unit, row.P50, row.P95, row.FloorP50, row.Ratio, row.N)
	}
	w.Flush()
	if out := os.Getenv("CLONED_BENCH_OUT"); out != "" {
		data, err := json.MarshalIndent(r.list, "", "  ")
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(out, append(data, '\n'), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// percentile is the nearest-rank percentile.
func percentile(d []time.Duration, p int) time.Duration {
	s := slices.Sorted(slices.Values(d))
	return s[max(0, (len(s)*p+99)/100-1)]
}

func ms(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }
