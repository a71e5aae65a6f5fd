package e2e

import (
	"context"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/cloned-db/cloned/test/harness"
)

// each runs a test on every environment that CLONED_E2E names.
func each(t *testing.T, test func(t *testing.T, e *harness.Env)) {
	t.Helper()
	eachWith(t, "", test)
}

// eachWith is each with YAML appended to the daemon's configuration.
func eachWith(t *testing.T, extra string, test func(t *testing.T, e *harness.Env)) {
	t.Helper()
	environments := os.Getenv("CLONED_E2E")
	if environments == "" {
		if strings.Contains(os.Getenv("CLONED_REQUIRE"), "e2e") {
			t.Fatal("CLONED_E2E names no environment")
		}
		t.Skip("CLONED_E2E names no environment")
	}
	for _, name := range strings.Split(environments, ",") {
		driver, runtime, ok := strings.Cut(name, "+")
		if !ok {
			t.Fatalf("CLONED_E2E: %q is not DRIVER+RUNTIME", name)
		}
		t.Run(name, func(t *testing.T) { test(t, harness.New(t, driver, runtime, extra)) })
	}
}

// scale is how many orders a test's database gets.
func scale(orders int) int { return harness.Scale(orders) }

// atOnce calls f for 0 to n-1 at the same time and waits for all.
func atOnce(n int, f func(i int)) {
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() { f(i) })
	}
	wg.Wait()
}

func itoa(n int) string { return strconv.Itoa(n) }

// containsAll says that a text has all of the parts.
func containsAll(text string, parts ...string) bool {
	for _, part := range parts {
		if !strings.Contains(text, part) {
			return false
		}
	}
	return true
}

// statements connects for the test's life, and returns what runs statements there.
func statements(t *testing.T, url string) (run func(sql string)) {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close(context.Background()) }) // its server may be gone
	return func(sql string) {
		t.Helper()
		if _, err := conn.Exec(t.Context(), sql); err != nil {
			t.Fatalf("%s: %v", sql, err)
		}
	}
}
