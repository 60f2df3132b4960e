package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/spf13/cobra"

	"example.com/brood/ipc"
	"example.com/brood/supervisor/control/client"
)

// sendFlags are the flags of send.
type sendFlags struct {
	out              output
	all, quiet       bool
	timeout          time.Duration
	json, text, data string
}

func sendCommand(g *globals) *cobra.Command {
	var f sendFlags
	cmd := &cobra.Command{
		Use:   "send TARGET COMMAND [ARGS…]",
		Short: "Send a command to a worker and print its answer",
		Long: `Send a command to a worker and print its answer, piece by piece if it comes so.
A pool picks one of its ready workers; web/* and *, or --all, ask all of them.

ARGS become a JSON list of strings. --json, --text and --data send a payload of
your own instead. Flags come before TARGET.

How far a command is comes on standard error: as a bar on a terminal, as lines
elsewhere. Ctrl-C cancels it, and the worker is told. With -o json each piece is
a line of JSON, and each worker's outcome one more.`,
		Example: "  brood send web/2 echo hello world\n  brood send --all web pid\n  brood send --data @job.bin --timeout 2m jobs run",
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) < 2 {
				return wrongCount(len(args), "`brood send TARGET COMMAND [ARGS…]`")
			}
			if err := target(args[0]); err != nil {
				return err
			}
			return g.send(cmd, f, args[0], args[1], args[2:])
		},
	}
	cmd.Flags().SetInterspersed(false) // what follows the command is the command's
	f.out.flag(cmd)
	cmd.Flags().DurationVar(&f.timeout, "timeout", 30*time.Second, "how long to wait for the answer; the worker is told")
	cmd.Flags().BoolVar(&f.all, "all", false, "ask every worker of the pool, as TARGET/* does")
	cmd.Flags().BoolVarP(&f.quiet, "quiet", "q", false, "say nothing of how far it is")
	cmd.Flags().StringVar(&f.json, "json", "", "send this JSON")
	cmd.Flags().StringVar(&f.text, "text", "", "send this text")
	cmd.Flags().StringVar(&f.data, "data", "", "send the bytes of @FILE; - is standard input")
	completeSend(g, cmd)
	return cmd
}

func (g *globals) send(cmd *cobra.Command, f sendFlags, target, command string, args []string) error {
	if err := f.out.check(); err != nil {
		return err
	}
	m, err := f.message(cmd, args)
	if err != nil {
		return err
	}
	c, ctx, cancel, err := g.dialLimit(f.timeout)
	if err != nil {
		return err
	}
	defer cancel()
	defer c.Close()
	interrupted, stop := untilInterrupt()
	defer stop()
	defer context.AfterFunc(interrupted, cancel)()
	if f.all && !everyone(target) {
		if client.NamesSlot(target) {
			return usagef("--all %s: that is one worker; name a pool", target)
		}
		target += "/*"
	}
	p := g.answerPrinter(cmd, f)
	if everyone(target) {
		err = p.all(ctx, c, target, command, m)
	} else {
		err = p.one(ctx, c, target, command, m)
	}
	if interrupted.Err() != nil {
		return fmt.Errorf("%w: %s was given up; the worker was told to stop", ipc.ErrCanceled, printable(command))
	}
	return err
}

// everyone: the target asks several workers.
func everyone(target string) bool {
	return strings.TrimPrefix(target, "@") == "*" || strings.HasSuffix(target, "/*")
}

// message is the payload that the flags or the words ask for.
func (f sendFlags) message(cmd *cobra.Command, args []string) (ipc.Message, error) {
	own := ""
	for _, name := range []string{"json", "text", "data"} {
		if !cmd.Flags().Changed(name) {
			continue
		}
		if own != "" {
			return ipc.Message{}, usagef("--%s and --%s are two payloads; give one of them", own, name)
		}
		own = name
	}
	if own != "" && len(args) > 0 {
		return ipc.Message{}, usagef("--%s and words are two payloads; give one of them (flags come before TARGET)", own)
	}
	switch own {
	case "json":
		if !json.Valid([]byte(f.json)) {
			return ipc.Message{}, usagef("--json %s: this is no JSON", f.json)
		}
		return ipc.Message{Codec: ipc.CodecJSON, Payload: []byte(f.json)}, nil
	case "text":
		if !utf8.ValidString(f.text) {
			return ipc.Message{}, usagef("--text: this is no UTF-8; send it with --data")
		}
		return ipc.Text(f.text), nil
	case "data":
		return f.file()
	}
	return ipc.Args(args...), nil
}

// file reads @FILE. More than a message may hold is not read.
func (f sendFlags) file() (ipc.Message, error) {
	name, ok := strings.CutPrefix(f.data, "@")
	if f.data == "-" {
		name, ok = "-", true
	}
	if !ok {
		return ipc.Message{}, usagef("--data %s: write @FILE, or - for standard input", f.data)
	}
	in := os.Stdin
	if name != "-" {
		var err error
		if in, err = os.Open(name); err != nil {
			return ipc.Message{}, usagef("--data: %v", err)
		}
		defer in.Close()
	}
	b, err := io.ReadAll(io.LimitReader(in, ipc.DefaultMaxMessage+1))
	if err != nil {
		return ipc.Message{}, usagef("--data: %v", err)
	}
	if len(b) > ipc.DefaultMaxMessage {
		return ipc.Message{}, usagef("--data: more than %d bytes do not fit one message", ipc.DefaultMaxMessage)
	}
	return ipc.Bytes(b), nil
}
