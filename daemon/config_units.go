package daemon

import (
	"fmt"
	"math"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
)

// Size is a number of bytes, written with a unit: "10GiB".
type Size int64

// Duration is a length of time, written as Go writes it: "24h", "1m30s".
type Duration time.Duration

// Ports is a range of TCP ports, written "20000-29999".
type Ports struct{ First, Last int }

// PoolShare is an amount of a pool's space: bytes ("20GiB") or a part of the whole ("5%").
type PoolShare struct {
	Bytes   int64
	Percent float64
}

// Of returns it in bytes for a pool of the size.
func (f PoolShare) Of(total int64) int64 {
	return f.Bytes + int64(float64(total)*f.Percent/100)
}

var sizePattern = regexp.MustCompile(`^([0-9]+(?:\.[0-9]+)?) ?([KMGT]i?B|B)$`)

func (s *Size) parse(text string) error {
	units := map[string]float64{
		"B": 1, "KB": 1e3, "MB": 1e6, "GB": 1e9, "TB": 1e12,
		"KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30, "TiB": 1 << 40,
	}
	match := sizePattern.FindStringSubmatch(text)
	if match == nil {
		return fmt.Errorf("%q is not a size such as 10GiB", text)
	}
	n, err := strconv.ParseFloat(match[1], 64)
	if n *= units[match[2]]; err != nil || n >= math.MaxInt64 {
		return fmt.Errorf("%q is too large", text)
	}
	*s = Size(n)
	return nil
}

func (d *Duration) parse(text string) error {
	parsed, err := time.ParseDuration(text)
	if err != nil || parsed < 0 {
		return fmt.Errorf("%q is not a length of time such as 24h or 90s", text)
	}
	*d = Duration(parsed)
	return nil
}

func (p *Ports) parse(text string) error {
	first, last, found := strings.Cut(text, "-")
	var err, errLast error
	p.First, err = strconv.Atoi(strings.TrimSpace(first))
	p.Last, errLast = strconv.Atoi(strings.TrimSpace(last))
	if !found || err != nil || errLast != nil {
		return fmt.Errorf("%q is not a range of ports such as 20000-29999", text)
	}
	if p.First < 1024 || p.Last > math.MaxUint16 || p.First > p.Last {
		return fmt.Errorf("%q: the first port must be at least 1024, the last at most 65535 and not before the first", text)
	}
	return nil
}

func (f *PoolShare) parse(text string) error {
	if part, ok := strings.CutSuffix(text, "%"); ok {
		percent, err := strconv.ParseFloat(part, 64)
		if err != nil || !(percent >= 0 && percent < 100) { // so written, it also refuses NaN
			return fmt.Errorf("%q must be at least 0%% and less than 100%%", text)
		}
		*f = PoolShare{Percent: percent}
		return nil
	}
	var size Size
	if err := size.parse(text); err != nil {
		return fmt.Errorf("%q is neither a size such as 20GiB nor a part such as 5%%", text)
	}
	*f = PoolShare{Bytes: int64(size)}
	return nil
}

// UnmarshalYAML reads the value of a YAML node.
func (s *Size) UnmarshalYAML(node ast.Node) error { return scalar(node, s.parse) }

// UnmarshalYAML reads the value of a YAML node.
func (d *Duration) UnmarshalYAML(node ast.Node) error { return scalar(node, d.parse) }

// UnmarshalYAML reads the value of a YAML node.
func (p *Ports) UnmarshalYAML(node ast.Node) error { return scalar(node, p.parse) }

// UnmarshalYAML reads the value of a YAML node.
func (f *PoolShare) UnmarshalYAML(node ast.Node) error { return scalar(node, f.parse) }

// scalar parses a node's text; the error points at the node.
func scalar(node ast.Node, parse func(string) error) error {
	text := node.String()
	if s, ok := node.(*ast.StringNode); ok {
		text = s.Value
	}
	if err := parse(text); err != nil {
		return &yaml.SyntaxError{Message: err.Error(), Token: node.GetToken()}
	}
	return nil
}
