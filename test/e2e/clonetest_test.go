package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/cloned-db/cloned/client/clonetest"
	"github.com/cloned-db/cloned/test/harness"
)

// TestCloneTest: each test function, and those in parallel, has a database of its
// own, of which nothing is left.
func TestCloneTest(t *testing.T) {
	each(t, func(t *testing.T, e *harness.Env) {
		e.Start()
		e.GoldenFromDirectory("shop", scale(500))
		t.Setenv("CLONED_HOST", "unix://"+e.Socket)
		for i := range 6 {
			golden := []string{"shop", ""}[i%2]
			t.Run(fmt.Sprintf("case %d", i), func(t *testing.T) { placeOrder(t, golden) })
		}
		example := exec.Command("go", "test", "-count=1", "-v", "-run", "TestOrders", "./client/clonetest")
		example.Dir = harness.Repo(t, "")
		example.Env = append(os.Environ(), "EXAMPLE_GOLDEN=shop")
		if _, err := exec.LookPath("go"); err != nil {
			t.Log("no go command here: the example is not run")
		} else if out, err := example.CombinedOutput(); err != nil || !strings.Contains(string(out), "--- PASS: TestOrders/wipe") {
			t.Errorf("the example: %v: %s", err, out)
		}
		e.CheckNothingLeft()
	})
}

// placeOrder is a test as users write it.
func placeOrder(t *testing.T, golden string) {
	db := clonetest.New(t, golden)
	conn, err := pgx.Connect(t.Context(), db.URL)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(t.Context())
	if _, err := conn.Exec(t.Context(), "CREATE TABLE mine (x int)"); err != nil {
		t.Error("this database is not the test's own:", err)
	}
	if !strings.Contains(db.Clone.GetLabels()["test"], t.Name()) {
		t.Errorf("labels %v", db.Clone.GetLabels())
	}
}
