package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"example.com/brood/cmd/brood/internal/term"
	"example.com/brood/ipc"
	"example.com/brood/supervisor/control/api"
	"example.com/brood/supervisor/control/client"
)

// answerPrinter prints what comes back of a command: the answer on standard
// output, all else on standard error.
type answerPrinter struct {
	out    io.Writer
	screen bool // it is a terminal, which a worker's escapes must not reach
	json   bool
	bar    *bar

	midline bool // the last byte printed was not the end of a line
	pieces  bool // some of the answer was printed
}

func (g *globals) answerPrinter(cmd *cobra.Command, f sendFlags) *answerPrinter {
	p := &answerPrinter{out: cmd.OutOrStdout(), screen: g.out(cmd).Terminal, json: f.out.json()}
	if !p.json && !f.quiet {
		p.bar = newBar(term.Of(os.Stderr, g.color))
		p.bar.shared = p.screen
	}
	return p
}

// one asks one worker.
func (p *answerPrinter) one(ctx context.Context, c *client.Client, target, command string, m ipc.Message) error {
	reply, err := c.CallStream(ctx, target, command, m, func(piece api.Piece) error {
		if p.json {
			return printJSON(p.out, piece)
		}
		return p.piece(piece, "")
	})
	p.bar.clear()
	var problem *client.Error
	if p.json && (err == nil || errors.As(err, &problem) && reply.Worker != "") {
		if perr := printJSON(p.out, lastPiece(reply, problem)); perr != nil {
			return perr
		}
		return err
	}
	if err != nil {
		p.endLine()
		return err
	}
	if len(reply.Payload) > 0 || !p.pieces {
		if err := p.payload(reply.Message); err != nil {
			return err
		}
		if !p.midline || reply.Codec == ipc.CodecBytes {
			return nil
		}
	}
	return p.endLine()
}

// lastPiece is the line of JSON that ends an answer.
func lastPiece(r client.Reply, problem *client.Error) api.Piece {
	if problem != nil {
		return api.Piece{Worker: r.Worker, Outcome: problem.Code, Problem: &problem.Problem}
	}
	last := api.Piece{Worker: r.Worker, Outcome: "ok", Codec: r.Codec.String()}
	switch {
	case len(r.Payload) == 0:
		last.Codec = ""
	case r.Codec == ipc.CodecJSON && json.Valid(r.Payload):
		last.Result = api.Raw(r.Payload)
	default:
		var v any = r.Payload // as base64
		if r.Codec != ipc.CodecBytes {
			v = string(r.Payload)
		}
		last.Result, _ = json.Marshal(v) // text and bytes always can be
	}
	return last
}

// piece prints one piece that is not the last, behind lead.
func (p *answerPrinter) piece(piece api.Piece, lead string) error {
	m, err := client.Payload(piece)
	if err != nil {
		return err
	}
	switch piece.Name {
	case "":
		p.bar.clear()
		p.pieces = true
		return p.payload(m)
	case "progress":
		var at api.Progress
		if json.Unmarshal(m.Payload, &at) == nil {
			p.bar.show(lead, at, p.midline)
		}
		return nil
	}
	p.bar.say(lead + piece.Name + ": " + printable(string(m.Plain())))
	return nil
}

// shown is what a worker has said as it is printed: as it is, but on a terminal, which
// it might colour, clear or have answer.
func (p *answerPrinter) shown(b []byte) []byte {
	if !p.screen {
		return b
	}
	return []byte(term.PrintableLines(string(b)))
}

// payload prints bytes and text as they are, JSON as lines.
func (p *answerPrinter) payload(m ipc.Message) error {
	b := m.Plain()
	if m.Codec == ipc.CodecJSON {
		b = append(b[:len(b):len(b)], '\n')
	}
	if len(b) > 0 {
		p.midline = b[len(b)-1] != '\n'
	} else if m.Codec == ipc.CodecText && !p.pieces {
		p.midline = true // an empty answer is an empty line
	}
	_, err := p.out.Write(p.shown(b))
	return err
}

// endLine ends the line that an answer has left open.
func (p *answerPrinter) endLine() error {
	if !p.midline {
		return nil
	}
	p.midline = false
	_, err := p.out.Write([]byte("\n"))
	return err
}

// all asks every worker of target. Their answers are printed in the order of
// the slots when all are there, as JSON at once.
func (p *answerPrinter) all(ctx context.Context, c *client.Client, target, command string, m ipc.Message) error {
	var lasts []api.Piece
	parts := map[string][]byte{} // of each worker's answer, until it ends
	err := c.CallAllStream(ctx, target, command, m, func(piece api.Piece) error {
		if p.json {
			if piece.Outcome != "" {
				lasts = append(lasts, piece)
			}
			return printJSON(p.out, piece)
		}
		switch {
		case piece.Outcome != "":
			lasts = append(lasts, piece)
			p.bar.note(fmt.Sprintf("%d answered, the last %s", len(lasts), piece.Worker))
			return nil
		case piece.Name == "":
			m, err := client.Payload(piece)
			parts[piece.Worker] = append(parts[piece.Worker], m.Plain()...)
			return err
		}
		return p.piece(piece, piece.Worker+": ")
	})
	p.bar.clear()
	slices.SortStableFunc(lasts, func(a, b api.Piece) int { return compareTargets(a.Worker, b.Worker) })
	if !p.json {
		for _, last := range lasts {
			if _, perr := fmt.Fprintf(p.out, "%s: %s\n", last.Worker, p.shown(lastText(last, parts[last.Worker]))); perr != nil {
				return perr
			}
		}
	}
	return errors.Join(err, worstOf(lasts))
}

// compareTargets puts web/2#1 before web/10#1.
func compareTargets(a, b string) int {
	poolA, restA, _ := strings.Cut(a, "/")
	poolB, restB, _ := strings.Cut(b, "/")
	if c := strings.Compare(poolA, poolB); c != 0 {
		return c
	}
	var slotA, slotB int
	fmt.Sscanf(restA, "%d", &slotA)
	fmt.Sscanf(restB, "%d", &slotB)
	return slotA - slotB
}

func lastText(last api.Piece, parts []byte) []byte {
	if last.Outcome != "ok" {
		if last.Problem == nil {
			return []byte(last.Outcome)
		}
		return []byte(last.Outcome + ": " + printable(strings.TrimPrefix(last.Problem.Detail, last.Worker+": "))) // which stands before it
	}
	m, err := client.Payload(last)
	if err != nil {
		return []byte(err.Error())
	}
	return bytes.TrimSuffix(slices.Concat(parts, m.Plain()), []byte{'\n'})
}

// worstOf fails with the worst outcome of several.
func worstOf(lasts []api.Piece) error {
	worst := &notAll{of: len(lasts)}
	exit := exitDone
	for _, last := range lasts {
		if last.Outcome == "ok" {
			continue
		}
		worst.bad++
		code := last.Outcome
		if last.Problem != nil {
			code = last.Problem.Code
		}
		if n := problemExit(code); n > exit {
			exit, worst.code = n, ipc.Code(code)
		}
	}
	if worst.bad == 0 {
		return nil
	}
	return &coded{exit, worst}
}

// notAll is the error of a command to several workers. It is the code of the worst.
type notAll struct {
	bad, of int
	code    ipc.Code
}

func (e *notAll) Error() string {
	return fmt.Sprintf("%d of %d workers did not answer with ok", e.bad, e.of)
}

func (e *notAll) Unwrap() error { return e.code }
