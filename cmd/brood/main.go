// Brood runs pools of worker processes and reaches each of them through one
// permission-checked socket.
package main

import (
	"errors"
	"fmt"
	"os"
	"runtime/debug"
	"strings"

	"github.com/spf13/cobra"

	"example.com/brood/supervisor/control/client"
)

func main() { os.Exit(brood(os.Args[1:])) }

// brood is the whole program but for its exit.
func brood(args []string) int {
	root := newRoot()
	root.SetArgs(args)
	err := root.Execute()
	if err == nil {
		return exitDone
	}
	code := exitCode(err)
	if text := err.Error(); text != "" {
		lines := strings.Split(strings.TrimRight(text, "\n"), "\n") // each is a fault of its own
		var problem *client.Error
		if errors.As(err, &problem) {
			lines = []string{text} // a worker's words
		}
		for _, line := range lines {
			fmt.Fprintln(os.Stderr, "brood:", printable(line))
		}
	}
	return code
}

func newRoot() *cobra.Command {
	g := &globals{}
	root := &cobra.Command{
		Use:   "brood",
		Short: "Run pools of worker processes and reach each of them",
		Long: `Brood runs pools of worker processes under one supervisor, each on its own
socketpair, and gives people and scripts one permission-checked socket to reach
any of them.

A target is a worker web/2, one generation of it web/2#7, a pool web, all of a
pool web/*, or all *. @1 is slot 1 of the only pool.`,
		SilenceErrors: true,
		SilenceUsage:  true,
		Args:          noCommand,
		RunE:          func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	root.SuggestionsMinimumDistance = 2
	root.CompletionOptions.HiddenDefaultCmd = true
	root.PersistentFlags().StringVar(&g.socket, "socket", "", "the control socket (default $BROOD_SOCKET, else "+
		"/run/brood/control.sock for root, $XDG_RUNTIME_DIR/brood/control.sock for others)")
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return usagef("%v; see `%s --help`", err, cmd.CommandPath())
	})
	root.AddCommand(
		runCommand(g), demoCommand(g), demoWorkerCommand(), checkCommand(),
		statusCommand(g), healthCommand(g), pingCommand(g), sendCommand(g),
		orderCommand(g, "start", "Want workers up, and forget why they were given up"),
		orderCommand(g, "stop", "Want workers down"),
		orderCommand(g, "restart", "Replace workers, those of a pool one at a time"),
		scaleCommand(g), reloadCommand(g), shutdownCommand(g), whoamiCommand(g), versionCommand(g),
	)
	return root
}

// noCommand turns `brood stauts` into an error that names the nearest command.
func noCommand(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	text := fmt.Sprintf("there is no command %q", args[0])
	if near := cmd.SuggestionsFor(args[0]); len(near) > 0 {
		text += fmt.Sprintf("; did you mean %q?", near[0])
	} else {
		text += "; `brood --help` lists them"
	}
	return usagef("%s", text)
}

// globals are the flags of every command.
type globals struct{ socket string }

// versionText is brood's version: that of the module it was built from.
func versionText() string {
	info, ok := debug.ReadBuildInfo()
	if !ok || info.Main.Version == "" {
		return "(devel)"
	}
	return info.Main.Version
}
