package rehearse

import (
	"fmt"
	"time"
)

// size writes bytes for people; a negative number is a decrease.
func size(n int64) string {
	sign := ""
	v := float64(n)
	if n < 0 {
		sign, v = "-", -v
	}
	units := []string{"B", "KiB", "MiB", "GiB", "TiB", "PiB"}
	u := 0
	for v >= 1024 && u < len(units)-1 {
		v, u = v/1024, u+1
	}
	if u == 0 || v >= 10 {
		return fmt.Sprintf("%s%.0f %s", sign, v, units[u])
	}
	return fmt.Sprintf("%s%.1f %s", sign, v, units[u])
}

// took writes a measured time for people.
func took(d time.Duration) string {
	switch {
	case d < time.Second:
		return fmt.Sprintf("%d ms", d.Milliseconds())
	case d < time.Minute:
		return fmt.Sprintf("%.1f s", d.Seconds())
	}
	return d.Round(time.Second).String()
}
