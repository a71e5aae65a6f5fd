package main

import (
	"os"
	"testing"
)

// TestMain lets the test's program be clonectl, for hooks that call it by path.
func TestMain(m *testing.M) {
	if os.Getenv("CLONECTL_TEST") != "" {
		main()
		return
	}
	os.Exit(m.Run())
}
