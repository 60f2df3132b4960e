package main

import (
	"context"
	_ "embed"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"example.com/brood/examples/echo/commands"
	"example.com/brood/supervisor/config"
	"example.com/brood/supervisor/control/client"
	"example.com/brood/supervisor/handover"
	"example.com/brood/worker"
)

// demoConfig runs this binary as its own workers; demoCommand fills the
// program in.
//
//go:embed demo.yaml
var demoConfig []byte

func demoCommand(g *globals) *cobra.Command {
	var f runFlags
	cmd := &cobra.Command{
		Use:               "demo",
		Short:             "Run four small workers to try things out on",
		Args:              exactArgs(0, "brood demo"),
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, _ []string) error {
			self, err := os.Executable()
			if err != nil {
				return err
			}
			file, err := config.Parse("demo.yaml", demoConfig)
			if err != nil {
				return err
			}
			file.Pools[0].Command[0] = self
			in, err := handover.Receive()
			if err != nil {
				return err
			}
			defer in.Close()
			return g.run(f, file, in, func(socket string) { fmt.Print(demoText(self, socket)) })
		},
	}
	f.common(cmd)
	cmd.Flags().Lookup("log-level").DefValue = "warn"
	f.logLevel = "warn"
	return cmd
}

// demoText is what to type next.
func demoText(self, socket string) string {
	program := filepath.Base(self)
	if strings.Contains(self, string(filepath.Separator)+"go-build") { // started by go run
		program = "go run ./cmd/brood"
	} else if _, err := os.Stat(program); err == nil {
		program = "./" + program
	}
	flag := ""
	if socket != client.DefaultPath() || os.Getenv("BROOD_SOCKET") != "" { // which the other terminal may not have
		flag = " --socket " + socket
	}
	var b strings.Builder
	fmt.Fprintf(&b, "Four workers run in the pool web. The control socket is %s\n\nIn another terminal, try:\n\n", socket)
	for _, line := range []string{
		"status",
		"send web/2 echo hello world",
		"send 'web/*' pid",
		"send web/2 work 2s",
		"send web/3 fail",
		"top",
		"health",
		"restart web",
		"shutdown",
	} {
		fmt.Fprintf(&b, "  %s%s %s\n", program, flag, line)
	}
	fmt.Fprintf(&b, "  curl --unix-socket %s http://brood/v1/status\n\nCtrl-C stops it.\n\n", socket)
	return b.String()
}

// demoWorkerCommand is what the demo's workers run.
func demoWorkerCommand() *cobra.Command {
	return &cobra.Command{
		Use:    "demo-worker",
		Short:  "Be a worker of the demo",
		Hidden: true,
		Args:   exactArgs(0, "brood demo-worker"),
		RunE: func(*cobra.Command, []string) error {
			var w worker.Worker
			commands.Register(&w)
			return w.Run(context.Background())
		},
	}
}
