package e2e

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/cloned-db/cloned/test/harness"
)

// TestInPlace makes a golden of a dataset in which a streaming replica writes
// all the while. The replica is not disturbed, nothing in its dataset is
// touched, and of its snapshots only ours go.
func TestInPlace(t *testing.T) {
	each(t, func(t *testing.T, e *harness.Env) {
		if e.Driver == "dir" {
			t.Skip("plain directories have no atomic snapshots")
		}
		prod := harness.InitServer(t, e.Dir+"/prod")
		prod.Start()
		prod.LoadShop(scale(10_000))

		e.Start()
		dataset, mount := e.ForeignDataset("replica")
		replica := prod.Standby(mount + "/pg")
		replica.Start()
		prod.StartLoad()
		harness.Eventually(t, time.Minute, "the replica follows", func() error {
			if n := replica.Int("shop", "SELECT count(*) FROM orders WHERE note = 'placed under load'"); n == 0 {
				return fmt.Errorf("no order has come over")
			}
			return nil
		})
		theirs := e.ForeignSnapshot(dataset, "theirs")

		e.Ctl("golden", "create", "shop", "--in-place", dataset, "--data-dir", "pg")
		c := e.Create("dev")
		if got := harness.QueryText(t, c.Endpoint.URL, "SELECT pg_is_in_recovery()::text"); got != "false" {
			t.Errorf("the clone is in recovery: %s", got)
		}
		harness.ExecSQL(t, c.Endpoint.URL, "CREATE TABLE only_dev (x int)")
		items := harness.QueryInt(t, c.Endpoint.URL, "SELECT count(*) FROM orders o WHERE note = 'placed under load' AND NOT EXISTS (SELECT FROM order_items i WHERE i.order_id = o.id)")
		if items != 0 {
			t.Errorf("%d orders without items: not a consistent state", items)
		}
		first := harness.QueryInt(t, c.Endpoint.URL, "SELECT count(*) FROM orders")

		harness.Eventually(t, time.Minute, "the replica still follows", func() error {
			if n := replica.Int("shop", "SELECT count(*) FROM orders"); n <= first {
				return fmt.Errorf("%d orders, the clone has %d", n, first)
			}
			return nil
		})
		e.Ctl("golden", "refresh", "shop")
		if n := harness.QueryInt(t, e.Create("newer").Endpoint.URL, "SELECT count(*) FROM orders"); n <= first {
			t.Errorf("the refresh brought %d orders, the snapshot before had %d", n, first)
		}
		if _, err := os.Stat(mount + "/pg/standby.signal"); err != nil {
			t.Errorf("the replica's data directory was touched: %v", err)
		}
		if got := prod.Int("postgres", "SELECT count(*) FROM pg_stat_replication"); got != 1 {
			t.Errorf("production has %d standbys, want the one replica", got)
		}

		for _, name := range []string{"dev", "newer"} {
			e.Ctl("rm", name)
		}
		e.Ctl("golden", "rm", "shop")
		harness.Eventually(t, time.Minute, "our snapshots are gone", func() error {
			if left := e.ForeignSnapshots(dataset); len(left) != 1 || !strings.Contains(left[0], theirs) {
				return fmt.Errorf("left in the dataset: %v", left)
			}
			return nil
		})
		e.CheckNothingLeft()
		replica.Stop()
		e.RemoveForeign(dataset)
	})
}
