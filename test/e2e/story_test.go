package e2e

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cloned-db/cloned/test/harness"
)

// TestStory is the product's one job: production under write load becomes a
// golden, three branches get databases of their own, write different things and
// do not see each other's.
func TestStory(t *testing.T) {
	each(t, func(t *testing.T, e *harness.Env) {
		prod := harness.InitServer(t, e.Dir+"/prod")
		prod.Start()
		prod.LoadShop(scale(20_000))
		prod.Exec("shop", "CREATE PUBLICATION everything FOR ALL TABLES")
		prod.Exec("shop", "SELECT pg_create_physical_replication_slot('standby1')")
		prod.Exec("shop", "BEGIN; UPDATE products SET stock = 0 WHERE id = 2000; PREPARE TRANSACTION 'forgotten'")
		prod.StartLoad()

		e.Start()
		e.WritePassword(prod.Password)
		before := prod.Int("shop", "SELECT count(*) FROM orders")
		e.Ctl("golden", "create", "shop", "--from-server", prod.ConnInfo(), "--password-file", e.PasswordFile(), "--memory", "512MiB")
		prod.StopLoad()
		after := prod.Int("shop", "SELECT count(*) FROM orders")

		branches := []string{"main", "hotfix-1042", "dev"}
		for _, b := range branches {
			c := e.Create(b, "--branch", b)
			orders := harness.QueryInt(t, c.Endpoint.URL, "SELECT count(*) FROM orders")
			if orders < before || orders > after {
				t.Errorf("%s has %d orders; production had %d to %d while it was copied", b, orders, before, after)
			}
			items := harness.QueryInt(t, c.Endpoint.URL, "SELECT count(*) FROM orders o WHERE note = 'placed under load' AND NOT EXISTS (SELECT FROM order_items i WHERE i.order_id = o.id)")
			if items != 0 {
				t.Errorf("%s has %d orders without items: not a consistent state", b, items)
			}
		}

		t.Run("isolation", func(t *testing.T) {
			for _, b := range branches {
				harness.ExecSQL(t, e.Show(b).Endpoint.URL, fmt.Sprintf("CREATE TABLE only_%s (x int); UPDATE products SET price_cents = %d", strings.ReplaceAll(b, "-", "_"), len(b)))
			}
			for _, b := range branches {
				url := e.Show(b).Endpoint.URL
				got := harness.QueryText(t, url, "SELECT string_agg(tablename, ',') FROM pg_tables WHERE tablename LIKE 'only_%'")
				if want := "only_" + strings.ReplaceAll(b, "-", "_"); got != want {
					t.Errorf("%s sees tables %s, want %s", b, got, want)
				}
				if n := harness.QueryInt(t, url, fmt.Sprintf("SELECT count(*) FROM products WHERE price_cents <> %d", len(b))); n != 0 {
					t.Errorf("%s: %d products have another's price", b, n)
				}
			}
			if n := prod.Int("shop", "SELECT count(*) FROM pg_tables WHERE tablename LIKE 'only_%'"); n != 0 {
				t.Errorf("production got %d tables of clones", n)
			}
		})

		t.Run("harmless", func(t *testing.T) { harmless(t, e, prod, e.Show("dev")) })

		t.Run("logs", func(t *testing.T) {
			log := e.Ctl("logs", "main")
			if !strings.Contains(log, "ready to accept connections") {
				t.Errorf("not a server's log: %s", log)
			}
			if strings.Contains(log, "was not properly shut down") || strings.Contains(log, "interrupted") {
				t.Errorf("the clone had to recover: %s", log)
			}
		})

		t.Run("reset", func(t *testing.T) {
			old := e.Show("dev")
			harness.ExecSQL(t, old.Endpoint.URL, "DROP TABLE order_items CASCADE")
			e.Ctl("reset", "dev")
			now := e.Show("dev")
			if now.Endpoint != old.Endpoint {
				t.Errorf("the endpoint changed from %+v to %+v", old.Endpoint, now.Endpoint)
			}
			if n := harness.QueryInt(t, now.Endpoint.URL, "SELECT count(*) FROM pg_tables WHERE tablename LIKE 'only_%'"); n != 0 {
				t.Errorf("%d tables survived the reset", n)
			}
			harness.QueryInt(t, now.Endpoint.URL, "SELECT count(*) FROM order_items")
		})

		t.Run("suspend and resume", func(t *testing.T) {
			old := e.Show("main")
			e.Ctl("suspend", "main")
			if err := harness.TrySQL(t.Context(), old.Endpoint.URL, "SELECT 1"); err == nil {
				t.Error("a suspended clone answers")
			}
			e.Ctl("resume", "main")
			if now := e.Show("main"); now.Endpoint != old.Endpoint {
				t.Errorf("the endpoint changed from %+v to %+v", old.Endpoint, now.Endpoint)
			}
			harness.QueryInt(t, old.Endpoint.URL, "SELECT count(*) FROM only_main")
		})

		t.Run("refresh", func(t *testing.T) {
			prod.Exec("shop", "CREATE TABLE shipped_today (id int)")
			e.Ctl("golden", "refresh", "shop")
			c := e.Create("after-refresh")
			harness.QueryInt(t, c.Endpoint.URL, "SELECT count(*) FROM shipped_today")
			if err := harness.TrySQL(t.Context(), e.Show("dev").Endpoint.URL, "SELECT FROM shipped_today"); err == nil {
				t.Error("an old clone changed with the refresh")
			}
			e.Ctl("reset", "dev", "--newest")
			harness.QueryInt(t, e.Show("dev").Endpoint.URL, "SELECT count(*) FROM shipped_today")
		})

		e.CheckNothingLeft()
	})
}

// harmless looks from inside a clone for ways back to production.
func harmless(t *testing.T, e *harness.Env, prod *harness.Server, c harness.Clone) {
	url := c.Endpoint.URL
	for query, want := range map[string]string{
		"SHOW archive_mode":                               "off",
		"SHOW primary_conninfo":                           "",
		"SHOW synchronous_standby_names":                  "",
		"SELECT count(*)::text FROM pg_replication_slots": "0",
		"SELECT count(*)::text FROM pg_prepared_xacts":    "0",
		"SELECT count(*)::text FROM pg_subscription":      "0",
		"SELECT pg_is_in_recovery()::text":                "false",
		"SELECT count(*)::text FROM pg_authid WHERE rolpassword IS NOT NULL AND rolname <> current_user": "0",
	} {
		if got := harness.QueryText(t, url, query); got != want {
			t.Errorf("%s = %q, want %q", query, got, want)
		}
	}
	asProduction := strings.Replace(prod.URL("shop"), fmt.Sprintf(":%d/", prod.Port), fmt.Sprintf(":%d/", c.Endpoint.Port), 1)
	if err := harness.TrySQL(t.Context(), asProduction, "SELECT 1"); err == nil {
		t.Error("production's password opens a clone")
	}
	other := e.Show("main").Endpoint
	wrong := strings.Replace(url, c.Endpoint.Password, other.Password, 1)
	if err := harness.TrySQL(t.Context(), wrong, "SELECT 1"); err == nil {
		t.Error("one clone's password opens another")
	}
	if e.Runtime == "docker" {
		reach := fmt.Sprintf("COPY (SELECT 1) TO PROGRAM 'timeout 3 bash -c \"exec 3<>/dev/tcp/%s/%d\"'", e.BridgeGateway(), prod.Port)
		if err := harness.TrySQL(t.Context(), url, reach); err == nil {
			t.Error("a connection left the clone towards the host")
		}
	}
}

// TestTwentyAtOnce makes twenty clones at the same time and deletes them so.
func TestTwentyAtOnce(t *testing.T) {
	each(t, func(t *testing.T, e *harness.Env) {
		e.Start()
		e.GoldenFromDirectory("shop", scale(2_000))
		n := 20
		atOnce(n, func(i int) { e.Create(fmt.Sprintf("job-%d", i), "--ttl", "1h") })
		ports := map[int]string{}
		for _, c := range e.List() {
			c = e.Show(c.Name)
			if c.State != "CLONE_STATE_READY" {
				t.Errorf("%s is %s: %s", c.Name, c.State, c.Message)
			}
			if other, taken := ports[c.Endpoint.Port]; taken {
				t.Errorf("%s and %s share port %d", other, c.Name, c.Endpoint.Port)
			}
			ports[c.Endpoint.Port] = c.Name
			harness.ExecSQL(t, c.Endpoint.URL, "CREATE TABLE mine AS SELECT '"+c.Name+"' AS name")
		}
		if len(ports) != n {
			t.Fatalf("%d clones, want %d", len(ports), n)
		}
		for _, c := range e.List() {
			if got := harness.QueryText(t, e.Show(c.Name).Endpoint.URL, "SELECT name FROM mine"); got != c.Name {
				t.Errorf("%s holds the data of %s", c.Name, got)
			}
		}
		atOnce(n, func(i int) { e.Ctl("rm", fmt.Sprintf("job-%d", i)) })
		e.CheckNothingLeft()
	})
}

// TestIdempotentCreate asks for one clone many times at once.
func TestIdempotentCreate(t *testing.T) {
	each(t, func(t *testing.T, e *harness.Env) {
		e.Start()
		e.GoldenFromDirectory("shop", scale(2_000))
		var mu sync.Mutex
		ids := map[string]bool{}
		atOnce(6, func(int) {
			c := e.Create("same", "--label", "pr=7")
			mu.Lock()
			defer mu.Unlock()
			ids[c.ID] = true
		})
		if len(ids) != 1 {
			t.Errorf("one request made %d clones", len(ids))
		}
		if r := e.Try("create", "same", "--label", "pr=8"); r.Code != 4 {
			t.Errorf("another request under the name: exit %d, want 4: %s", r.Code, r.Stderr)
		}
		e.CheckNothingLeft()
	})
}

// TestExpiry sees a clone go when its time is over, and a protected one stay.
func TestExpiry(t *testing.T) {
	each(t, func(t *testing.T, e *harness.Env) {
		e.Start()
		e.GoldenFromDirectory("shop", scale(2_000))
		// Only now, for making one may take longer where all is slow.
		e.Create("short", "--ttl", "1h")
		e.Create("kept", "--protect")
		e.Ctl("extend", "short", "2s")
		e.Ctl("extend", "kept", "2s")
		harness.Eventually(t, 60*time.Second, "short expires", func() error {
			if r := e.Try("show", "short"); r.Code != 3 {
				return fmt.Errorf("exit %d", r.Code)
			}
			return nil
		})
		harness.QueryInt(t, e.Show("kept").Endpoint.URL, "SELECT 1")
		if r := e.Try("rm", "kept"); r.Code != 5 {
			t.Errorf("rm of a protected clone: exit %d, want 5: %s", r.Code, r.Stderr)
		}
		// The other way round it would expire in between.
		e.Ctl("extend", "kept", "never")
		e.Ctl("unprotect", "kept")
		e.Ctl("rm", "kept")
		e.CheckNothingLeft()
	})
}
