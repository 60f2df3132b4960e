package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"example.com/brood/cmd/brood/internal/man"
	"example.com/brood/supervisor/config"
)

// manCommand writes the manual pages that packages ship.
func manCommand() *cobra.Command {
	return &cobra.Command{
		Use:    "man DIR",
		Short:  "Write the manual pages into a directory",
		Hidden: true,
		Args:   exactArgs(1, "brood man DIR"),
		RunE: func(cmd *cobra.Command, args []string) error {
			date, err := manDate()
			if err != nil {
				return err
			}
			book := man.Book{Date: date, Version: versionText(), Overview: overview, Every: []man.Section{exitStatus}}
			if err := os.MkdirAll(args[0], 0o755); err != nil {
				return err
			}
			paths, err := book.Write(args[0], cmd.Root())
			if err != nil {
				return err
			}
			page, err := book.Config("brood.yaml", "the configuration of brood(1)", yamlIntro, config.Schema(), config.Example)
			if err != nil {
				return err
			}
			path := filepath.Join(args[0], "brood.yaml.5")
			if err := os.WriteFile(path, []byte(page), 0o644); err != nil {
				return err
			}
			for _, path := range append(paths, path) {
				fmt.Fprintln(cmd.OutOrStdout(), path)
			}
			return nil
		},
	}
}

// manDate is $SOURCE_DATE_EPOCH (reproducible-builds.org), or today.
func manDate() (time.Time, error) {
	text := os.Getenv("SOURCE_DATE_EPOCH")
	if text == "" {
		return time.Now(), nil
	}
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		return time.Time{}, usagef("SOURCE_DATE_EPOCH=%s: write seconds since 1970", text)
	}
	return time.Unix(n, 0), nil
}

const yamlIntro = `The file is read by brood run and brood check. It is strict: an unknown key, a
number without its unit or a key written twice is an error with its line. Nothing
is expanded: $HOME and ~ are text.

Durations are written 250ms, 10s, 5m or 1h, sizes 64KiB, 512MiB or 4GiB, and
percentages 10%. A key that is left out has its default.`

var exitStatus = man.Section{Title: "EXIT STATUS", Text: `  0  done
  1  the worker answered with an error; or anything not below
  2  wrong usage or configuration
  3  the target is not up
  4  no supervisor on that socket
  5  permission denied
  6  no such pool, worker or command
  7  timeout: it may still be running
  8  lost: the worker died; the text says whether it had started
  9  overloaded

brood health has codes of its own, those of a Nagios plugin: 0 ok, 1 degraded, 2
critical or no supervisor, 3 unknown; with --lsb those of an init script's
status: 0, 1, 3 and 4.`}

var overview = []man.Section{
	{Title: "TARGETS", Text: `  web/2    that slot
  web/2#7  only that generation
  web      the pool: a ready worker of it answers
  web/*    all of a pool, a result each
  *        all
  @1       slot 1 of the only pool`},
	exitStatus,
	{Title: "SIGNALS", Text: `To brood run: SIGTERM and SIGINT stop it gracefully, a second one at once. SIGHUP
reads the configuration again. To the other commands: SIGINT and SIGTERM end
them; a command that was sent is canceled.`},
	{Title: "ENVIRONMENT", Text: `BROOD_SOCKET: the control socket, where --socket names none.

BROOD_HOST: another machine's socket, where neither --host nor --socket names one.
It is not looked at in a worker.

BROOD_SSH: the command to use instead of ssh(1), split at spaces.

NO_COLOR: if set to anything, nothing is coloured.

In a worker: BROOD_FD, BROOD_WORKER, BROOD_POOL, BROOD_SLOT, BROOD_GENERATION and
BROOD_SOCKET.`},
	{Title: "FILES", Text: `  brood.yaml                 the configuration, brood.yaml(5)
  /run/brood/control.sock    the control socket, for root
  $XDG_RUNTIME_DIR/brood/control.sock, /tmp/brood-UID/control.sock
                             for others`},
}
