package main

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/spf13/cobra"

	"example.com/brood/ipc"
	"example.com/brood/supervisor/control/api"
)

// sendFlags are the flags of send.
type sendFlags struct {
	out              output
	timeout          time.Duration
	json, text, data string
}

func sendCommand(g *globals) *cobra.Command {
	var f sendFlags
	cmd := &cobra.Command{
		Use:   "send TARGET COMMAND [ARGS…]",
		Short: "Send a command to a worker and print its answer",
		Long: `Send a command to a worker and print its answer. A pool picks one of its ready
workers; web/* and * ask all of them, and print an answer each.

ARGS become a JSON list of strings. --json, --text and --data send a payload of
your own instead. Flags come before TARGET.`,
		Example: "  brood send web/2 echo hello world\n  brood send --data @job.bin --timeout 2m jobs run",
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) < 2 {
				return usagef("got %d arguments; write `brood send TARGET COMMAND [ARGS…]`", len(args))
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
	cmd.Flags().StringVar(&f.json, "json", "", "send this JSON")
	cmd.Flags().StringVar(&f.text, "text", "", "send this text")
	cmd.Flags().StringVar(&f.data, "data", "", "send the bytes of @FILE, @- is standard input")
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
	c, ctx, cancel, err := g.dial(f.timeout)
	if err != nil {
		return err
	}
	defer cancel()
	if target == "*" || strings.HasSuffix(target, "/*") {
		replies, err := c.CallAll(ctx, target, command, m)
		if err != nil {
			return err
		}
		return printReplies(cmd.OutOrStdout(), replies, f.out.json())
	}
	r, err := c.Call(ctx, target, command, m)
	if err != nil {
		return err
	}
	if f.out.json() {
		return printJSON(cmd.OutOrStdout(), replyJSON(r.Worker, r.Message))
	}
	return printPlain(cmd.OutOrStdout(), r.Message)
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
		return ipc.Message{}, usagef("--data %s: write @FILE, or @- for standard input", f.data)
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

// printPlain prints bytes as they are, all else as a line.
func printPlain(w io.Writer, m ipc.Message) error {
	b := m.Plain()
	if m.Codec != ipc.CodecBytes && (len(b) == 0 || b[len(b)-1] != '\n') {
		b = append(b[:len(b):len(b)], '\n')
	}
	_, err := w.Write(b)
	return err
}

func replyJSON(worker string, m ipc.Message) api.Reply {
	r := api.Reply{Target: worker, Outcome: "ok", Codec: m.Codec.String(), Result: m.Payload}
	switch {
	case m.Codec == ipc.CodecText:
		r.Result = string(m.Payload)
	case m.Codec == ipc.CodecJSON && json.Valid(m.Payload):
		r.Result = json.RawMessage(m.Payload)
	}
	return r
}

// printReplies prints a line each and fails with the worst of them.
func printReplies(w io.Writer, replies []api.Reply, asJSON bool) error {
	var worst *coded
	bad := 0
	for _, r := range replies {
		if r.Outcome != "ok" {
			bad++
			if code := problemExit(r.Outcome); worst == nil || code > worst.code {
				worst = &coded{code, nil}
			}
		}
		if !asJSON {
			fmt.Fprintf(w, "%s: %s\n", r.Target, replyText(r))
		}
	}
	if asJSON {
		if err := printJSON(w, api.Replies{Replies: replies}); err != nil {
			return err
		}
	}
	if worst == nil {
		return nil
	}
	worst.err = fmt.Errorf("%d of %d workers did not answer with ok", bad, len(replies))
	return worst
}

func replyText(r api.Reply) string {
	if r.Outcome != "ok" {
		return r.Outcome + ": " + printable(r.Error)
	}
	switch v := r.Result.(type) {
	case nil:
		return ""
	case string:
		if r.Codec == ipc.CodecBytes.String() {
			if b, err := base64.StdEncoding.DecodeString(v); err == nil {
				return string(b)
			}
		}
		return v
	default:
		b, err := json.Marshal(v)
		if err != nil {
			return err.Error()
		}
		return string(b)
	}
}
