package e2e

import (
	"os"
	"testing"

	"github.com/cloned-db/cloned/test/harness"
)

func TestMain(m *testing.M) { os.Exit(harness.Main(m)) }
