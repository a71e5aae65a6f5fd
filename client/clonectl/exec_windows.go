package main

import (
	"os"
	"os/exec"
)

// passedOn are the signals that the command of "run" gets.
var passedOn = []os.Signal{os.Interrupt}

// ownGroup does nothing: on Windows a command is killed alone.
func ownGroup(*exec.Cmd) {}

// become runs another program in this one's place: Windows can't replace one.
func become(path string, argv, env []string) error {
	cmd := exec.Command(path, argv[1:]...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr, cmd.Env = os.Stdin, os.Stdout, os.Stderr, env
	return exitOf(cmd.Run())
}
