package main

import (
	"fmt"
	"maps"
	"os"
	"os/user"
	"slices"
	"strconv"
	"strings"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/cloned-db/cloned/errs"
)

// keyValues reads "key=value" arguments.
func keyValues(field string, list []string) (map[string]string, error) {
	out := map[string]string{}
	for _, text := range list {
		key, value, ok := strings.Cut(text, "=")
		if !ok || key == "" {
			return nil, errs.Fieldf(field, "%q is not KEY=VALUE", text)
		}
		out[key] = value
	}
	return out, nil
}

func joinMap(m map[string]string) string {
	var parts []string
	for _, k := range slices.Sorted(maps.Keys(m)) {
		parts = append(parts, k+"="+m[k])
	}
	return strings.Join(parts, ",")
}

// selector reads "-l key=value,key=value".
func selector(text string) (map[string]string, error) {
	if text == "" {
		return nil, nil
	}
	return keyValues("selector", strings.Split(text, ","))
}

// ttl reads a length of life: Go's form, or days as "7d".
func ttl(field, text string) (*durationpb.Duration, error) {
	if text == "" {
		return nil, nil
	}
	d, err := time.ParseDuration(text)
	if days, ok := strings.CutSuffix(text, "d"); ok {
		var n int
		n, err = strconv.Atoi(days)
		d = time.Duration(n) * 24 * time.Hour
	}
	if err != nil {
		return nil, errs.Fieldf(field, "%q is no length of time such as 90m, 4h or 7d", text)
	}
	if d < time.Second {
		return nil, errs.Fieldf(field, "%s is too short: at least 1s", text)
	}
	return durationpb.New(d), nil
}

// byteSize reads a size such as 512MiB.
func byteSize(field, text string) (int64, error) {
	if text == "" {
		return 0, nil
	}
	for unit, factor := range map[string]int64{"KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30, "TiB": 1 << 40, "KB": 1e3, "MB": 1e6, "GB": 1e9, "TB": 1e12} {
		if number, ok := strings.CutSuffix(text, unit); ok {
			n, err := strconv.ParseFloat(number, 64)
			if err == nil && n >= 0 && n < float64(1<<62)/float64(factor) {
				return int64(n * float64(factor)), nil
			}
		}
	}
	return 0, errs.Fieldf(field, "%q is no size such as 512MiB or 2GiB", text)
}

// defaultOwner is who asks: user@host.
func defaultOwner() string {
	who := os.Getenv("USER")
	if u, err := user.Current(); who == "" && err == nil {
		who = u.Username
	}
	host, err := os.Hostname()
	if err != nil {
		return who
	}
	return fmt.Sprintf("%s@%s", who, host)
}
