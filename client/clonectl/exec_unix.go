//go:build unix

package main

import (
	"os"
	"syscall"
)

// passedOn are the signals that the command of "run" gets.
var passedOn = []os.Signal{os.Interrupt, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGQUIT, syscall.SIGUSR1, syscall.SIGUSR2}

// become replaces this process with another program.
func become(path string, argv, env []string) error { return syscall.Exec(path, argv, env) }
