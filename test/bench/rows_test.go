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
	// Ratio is that of the medians, unless the name says of what else.
	Ratio float64 `json:"ratio,omitempty"`
	// Bound is the most that Ratio may be or, of what has no floor, P95; 0 for
	// rows that only tell.
	Bound float64 `json:"bound,omitempty"`
	N     int     `json:"n"`
}

// verdict says whether a row is within its bound; "" if it has none.
func (r Row) verdict() string {
	judged := r.Ratio
	if r.FloorP50 == 0 {
		judged = r.P95
	}
	switch {
	case r.Bound == 0:
		return ""
	case judged <= r.Bound:
		return "within"
	default:
		return "OVER"
	}
}

// rows collects the rows of a run.
type rows struct{ list []Row }

// add adds durations, in milliseconds, beside those of the floor.
func (r *rows) add(name string, took, floor []time.Duration) Row {
	return r.within(0, name, took, floor)
}

// within is add for a row that is judged.
func (r *rows) within(bound float64, name string, took, floor []time.Duration) Row {
	return r.put(beside(bound, name, took, floor))
}

// beside makes a row of durations and those of the floor.
func beside(bound float64, name string, took, floor []time.Duration) Row {
	row := Row{Name: name, Unit: "ms", P50: ms(percentile(took, 50)), P95: ms(percentile(took, 95)), Bound: bound, N: len(took)}
	if len(floor) > 0 {
		row.FloorP50 = ms(percentile(floor, 50))
		row.Ratio = row.P50 / row.FloorP50
	}
	return row
}

// put adds a row of any unit.
func (r *rows) put(row Row) Row {
	r.list = append(r.list, row)
	fmt.Printf("%-48s p50 %9.1f %-5s p95 %9.1f  floor %9.1f  ratio %5.2f  bound %7.2f %-6s  n %d\n",
		row.Name, row.P50, row.Unit, row.P95, row.FloorP50, row.Ratio, row.Bound, row.verdict(), row.N)
	return row
}

// write prints the table and writes the rows to CLONED_BENCH_OUT.
func (r *rows) write(t testing.TB) {
	t.Helper()
	w := tabwriter.NewWriter(os.Stdout, 2, 8, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(w, "name\tunit\tp50\tp95\tfloor p50\tratio\tbound\t\tn\t")
	for _, row := range r.list {
		fmt.Fprintf(w, "%s\t%s\t%.1f\t%.1f\t%.1f\t%.2f\t%.2f\t%s\t%d\t\n",
			row.Name, row.Unit, row.P50, row.P95, row.FloorP50, row.Ratio, row.Bound, row.verdict(), row.N)
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

func mean(d []time.Duration) time.Duration {
	var sum time.Duration
	for _, one := range d {
		sum += one
	}
	return sum / time.Duration(len(d))
}

func ms(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }
