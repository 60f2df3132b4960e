package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"runtime/debug"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/oklog/run"
	"github.com/spf13/cobra"

	"example.com/brood/supervisor"
	"example.com/brood/supervisor/config"
	"example.com/brood/supervisor/control"
	"example.com/brood/supervisor/handover"
)

// defaultConfig is read when no file and no command is named.
const defaultConfig = "brood.yaml"

// runFlags are the flags of run and demo.
type runFlags struct {
	config   string
	workers  int
	name     string
	mode     string
	logLevel string
	logJSON  bool

	path string // of the file that was read; empty: none was
}

func runCommand(g *globals) *cobra.Command {
	var f runFlags
	cmd := &cobra.Command{
		Use:   "run [-c brood.yaml] | run -n 4 [--name web] -- COMMAND [ARGS…]",
		Short: "Run the workers of a configuration, or of one command",
		Long: `Run the workers of a configuration, or of one command, in the foreground.

SIGTERM and SIGINT stop every worker gracefully; a second one kills them. SIGHUP
reads the configuration again, as brood reload does; SIGUSR2 is brood upgrade.`,
		RunE: func(cmd *cobra.Command, args []string) error {
			in, err := handover.Receive()
			if err != nil {
				return err
			}
			defer in.Close()
			file, err := f.load(cmd, args)
			if err != nil && in != nil {
				file, err = inherit(in, err)
			}
			if err != nil {
				return &coded{exitUsage, err}
			}
			return g.run(f, file, in)
		},
	}
	cmd.Flags().StringVarP(&f.config, "config", "c", "", "the configuration file (default "+defaultConfig+")")
	cmd.Flags().IntVarP(&f.workers, "workers", "n", 1, "how many workers run COMMAND")
	cmd.Flags().StringVar(&f.name, "name", "main", "what their pool is called")
	f.common(cmd)
	return cmd
}

func (f *runFlags) common(cmd *cobra.Command) {
	cmd.Flags().StringVar(&f.mode, "mode", "", "the control socket's file mode, such as 0660 (default 0600)")
	cmd.Flags().StringVar(&f.logLevel, "log-level", "info", "trace, debug, info, warn, error or off")
	_ = cmd.RegisterFlagCompletionFunc("log-level", cobra.FixedCompletions([]string{"trace", "debug", "info", "warn", "error", "off"}, cobra.ShellCompDirectiveNoFileComp))
	cmd.Flags().BoolVar(&f.logJSON, "log-json", false, "log as JSON")
}

// load is the configuration that the flags and words ask for.
func (f *runFlags) load(cmd *cobra.Command, command []string) (*config.File, error) {
	if len(command) == 0 {
		if cmd.Flags().Changed("workers") || cmd.Flags().Changed("name") {
			return nil, errors.New("-n and --name go with a command: brood run -n 4 --name web -- ./server")
		}
		path := f.config
		if path == "" {
			path = defaultConfig
		}
		f.path = path
		file, err := config.Load(path)
		if f.config == "" && errors.Is(err, fs.ErrNotExist) {
			if _, statErr := os.Stat(path); statErr != nil {
				return nil, fmt.Errorf("there is no %s here; name one with -c, or a command: brood run -n 4 -- ./server", path)
			}
		}
		return file, err
	}
	if f.config != "" {
		return nil, errors.New("-c and a command are two configurations; give one of them")
	}
	if f.workers < 1 {
		return nil, fmt.Errorf("-n %d: write a number of workers, 1 or more", f.workers)
	}
	pool := supervisor.Pool{Name: f.name, Command: command, Workers: f.workers}
	if _, err := pool.Program(); err != nil {
		return nil, fmt.Errorf("the command: %w", err)
	}
	return &config.File{Pools: []supervisor.Pool{pool}}, nil
}

func (f *runFlags) logger() (hclog.Logger, error) {
	level := hclog.LevelFromString(f.logLevel)
	if level == hclog.NoLevel {
		return nil, fmt.Errorf("--log-level %s: write trace, debug, info, warn, error or off", f.logLevel)
	}
	color := hclog.AutoColor
	if os.Getenv("NO_COLOR") != "" || f.logJSON {
		color = hclog.ColorOff
	}
	return hclog.New(&hclog.LoggerOptions{Name: "brood", Level: level, Output: os.Stderr, JSONFormat: f.logJSON, Color: color}), nil
}

// run is `brood run`: the supervisor, its control socket and the signals, as
// one run.Group. The first to end ends the others.
func (g *globals) run(f runFlags, file *config.File, in *handover.In, announce ...func(socket string)) error {
	// A fault of brood, or a watchdog's SIGABRT, ends it by a signal: the code that Go
	// would exit with means a faulty configuration here.
	debug.SetTraceback("crash")
	if _, asked := handover.Asked(); asked {
		return f.fits(file)
	}
	log, err := f.logger()
	if err != nil {
		return &coded{exitUsage, err}
	}
	doors, before, err := f.takeSockets(g, file.Control, in, log.Named("control"))
	if err != nil {
		return &coded{exitUsage, err}
	}
	defer doors.close()
	access, err := doors.access(file.Control)
	if err != nil {
		return &coded{exitUsage, err}
	}
	sup, err := supervisor.New(supervisor.Config{
		Pools: file.Pools, Log: log, Stdout: os.Stdout, Stderr: os.Stderr, Socket: doors.path(), Reaper: true, Handover: in,
	})
	if err != nil {
		return &coded{exitUsage, err}
	}
	manager := newNotifier(log)
	var server *control.Server
	var now standing
	now.file.Store(file)
	reload := manager.around(sup, f.reloader(sup, &now, func(c config.Control) (func(), error) {
		return doors.change(server, c, log.Named("control"))
	}))
	var upgrade upgradeFunc
	server, err = control.NewServer(control.Config{
		Supervisor: sup, Version: versionText(), Access: access, Log: log.Named("control"),
		Shutdown: func() { sup.Shutdown(false) }, Reload: reload,
		Upgrade: func(ctx context.Context) error { return upgrade(ctx) }, Saved: before, Handover: in,
		Audit: file.Control.Audit, AuditRequired: file.Control.AuditRequired,
		Limits: control.Limits{MaxConnections: file.Control.MaxConnections, MaxPerUser: file.Control.MaxPerUser},
	})
	if err != nil {
		return &coded{exitUsage, err}
	}
	sigs := listen()
	upgrade = manager.upgrader(sup, sigs, &now, doorway{server, doors})
	for _, l := range doors.all {
		log.Info("control socket", "path", l.Addr().String())
	}
	if in != nil {
		log.Info("this brood has taken over", "version", versionText())
		announce = nil
	}
	for _, tell := range announce {
		tell(doors.path())
	}
	var group run.Group
	ctx, stop := context.WithCancel(context.Background())
	group.Add(func() error { return sup.Run(ctx) }, func(error) { stop() })
	for _, l := range doors.all {
		group.Add(func() error { <-sup.Begun(); return server.Serve(l) }, func(error) { closeServer(server, sup) })
	}
	group.Add(sigs.actor(sup, reload, upgrade, log))
	group.Add(manager.actor(sup))
	return group.Run()
}

// goodbye is how long answers under way may take once no worker is left.
const goodbye = 2 * time.Second

// closeServer answers until the last worker is gone, as that is when people
// ask most.
func closeServer(server *control.Server, sup *supervisor.Supervisor) {
	<-sup.Done() // a stop always ends
	ctx, cancel := context.WithTimeout(context.Background(), goodbye)
	defer cancel()
	_ = server.Close(ctx) // what is left is hung up on
}
