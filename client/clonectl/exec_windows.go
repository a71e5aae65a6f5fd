package main

import (
	"os"
	"os/exec"
)

// passedOn are the signals that the command of "run" gets.
var passedOn = []os.Signal{os.Interrupt}

// ownGroup does nothing: on Windows a command is killed alone.
func ownGroup(*exec.Cmd) {}

// background starts "git sync" by itself.
func background() error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	cmd := exec.Command(self, "git", "sync", "--background")
	if err := cmd.Start(); err != nil {
		return err
	}
	return cmd.Process.Release()
}

// become runs another program in this one's place: Windows can't replace one.
func become(path string, argv, env []string) error {
	cmd := exec.Command(path, argv[1:]...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr, cmd.Env = os.Stdin, os.Stdout, os.Stderr, env
	return exitOf(cmd.Run())
}
