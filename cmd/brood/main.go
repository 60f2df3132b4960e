// Brood runs pools of worker processes and reaches each of them through one
// permission-checked socket.
package main

import (
	"fmt"
	"os"
	"runtime/debug"

	"github.com/spf13/cobra"

	"example.com/brood/supervisor"
)

func main() { os.Exit(start()) }

// start is brood with the words that it was started with.
func start() int { return supervisor.Main(func() int { return brood(os.Args[1:]) }) }

// brood is the whole program but for its exit.
func brood(args []string) int {
	g := &globals{}
	root := newRoot(g)
	root.InitDefaultHelpCmd()
	if help, _, err := root.Find([]string{"help"}); err == nil {
		help.Args = noTopic
	}
	root.SetArgs(args)
	root.SetFlagErrorFunc(flagError(args))
	cmd, err := root.ExecuteC()
	if err == nil {
		return exitDone
	}
	code := exitCode(err)
	if cmd.Name() == "health" && err.Error() != "" { // its own verdicts say nothing here
		code = healthUsage(cmd)
		sayUnknown(cmd, err)
	}
	if asked := cmd.Flags().Lookup("output"); asked != nil && asked.Value.String() == "json" {
		complainJSON(err, code)
	} else {
		g.complain(err)
	}
	return code
}

func newRoot(g *globals) *cobra.Command {
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
		PersistentPreRunE: func(*cobra.Command, []string) error {
			return g.checkColor()
		},
		RunE: func(cmd *cobra.Command, _ []string) error {
			if version, _ := cmd.Flags().GetBool("version"); version {
				return printVersion(cmd.OutOrStdout(), localVersion())
			}
			return cmd.Help()
		},
	}
	root.Flags().Bool("version", false, "print brood's version")
	root.SuggestionsMinimumDistance = 2
	root.CompletionOptions.DisableDefaultCmd = true // ours is in completion.go
	root.PersistentFlags().StringVar(&g.socket, "socket", "", "the control socket (default $BROOD_SOCKET, else "+
		"/run/brood/control.sock for root, $XDG_RUNTIME_DIR/brood/control.sock for others)")
	root.PersistentFlags().StringVar(&g.host, "host", "", "another machine's socket: ssh://[user@]box[:port][/path/of/socket] (default $BROOD_HOST)")
	root.PersistentFlags().StringVar(&g.color, "color", "auto", "auto, always or never; NO_COLOR in the environment means never")
	root.AddCommand(
		local(runCommand(g)), local(demoCommand(g)), demoWorkerCommand(), local(initCommand()), local(checkCommand()),
		local(conformanceCommand()), local(workerCommand()),
		statusCommand(g), topCommand(g), healthCommand(g), pingCommand(g), sendCommand(g), logsCommand(g), eventsCommand(g),
		orderCommand(g, "start", "Want workers up, and forget why they were given up"),
		orderCommand(g, "stop", "Want workers down"),
		orderCommand(g, "restart", "Replace workers, those of a pool one at a time"),
		scaleCommand(g), reloadCommand(g), upgradeCommand(g), shutdownCommand(g), whoamiCommand(g), local(versionCommand(g)),
		local(completionCommand()), stdioCommand(g), manCommand(),
	)
	_ = root.RegisterFlagCompletionFunc("color", cobra.FixedCompletions([]string{"auto", "always", "never"}, cobra.ShellCompDirectiveNoFileComp))
	return root
}

// noTopic turns `brood help stauts` into the same error.
func noTopic(cmd *cobra.Command, args []string) error {
	_, unknown, err := cmd.Root().Find(args)
	if err != nil {
		return err
	}
	return noCommand(cmd.Root(), unknown)
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

// version is set by packaging/build, with -ldflags.
var version string

// versionText is brood's version: the package's, or that of the module it was
// built from.
func versionText() string {
	if version != "" {
		return version
	}
	info, ok := debug.ReadBuildInfo()
	if !ok || info.Main.Version == "" {
		return "(devel)"
	}
	return info.Main.Version
}
