package control

import (
	"context"
	"errors"
	"slices"
	"strconv"
	"strings"

	"example.com/brood/ipc"
	"example.com/brood/supervisor"
	"example.com/brood/supervisor/control/api"
)

// Answers that come bit by bit: a worker's pieces, events and logs. Each bit goes
// out as it comes. With "json" each is a line without an outcome, and the line with
// one ends the answer.

// command sends the words to a worker, or to several.
func (c *lineConn) command(r *lineRequest) (v any, err error) {
	t, err := supervisor.ParseTarget(r.Target)
	if err != nil {
		return nil, err
	}
	limit := r.Timeout
	if limit == 0 {
		limit = defaultCall
	}
	m := ipc.Args(r.Words[1:]...)
	c.whileHere(limit, func(ctx context.Context) {
		if t.All {
			v, err = c.s.doCommandAll(ctx, c.g.caller, t, r.Words[0], m)
			return
		}
		v, err = c.commandOne(ctx, r, t, m)
	})
	return v, err
}

func (c *lineConn) commandOne(ctx context.Context, r *lineRequest, t supervisor.Target, m ipc.Message) (any, error) {
	p := pieceWriter{c: c, json: r.JSON}
	t = c.s.meant(c.g.caller, t)
	err := c.s.do(c.g.caller, ask{verbCommand, scopePool, t, r.Words[0]}, func() (err error) {
		p.reply, err = c.s.cfg.Supervisor.CallStream(ctx, t, r.Words[0], m, p.take)
		return err
	})
	if err != nil {
		p.endLine()
		return nil, err
	}
	if !r.JSON && p.came {
		return nil, p.last()
	}
	return answered{p.reply.From.String(), p.reply.Message}, nil
}

// pieceWriter is an answer that a worker gives in pieces. Without "json" those that
// have a name, such as progress, are left out.
type pieceWriter struct {
	c     *lineConn
	json  bool
	came  bool // one of the answer, which has been written
	open  bool // it did not end in a newline
	reply supervisor.Reply
}

// take writes one piece. It holds the worker back as long as the client does.
func (p *pieceWriter) take(from supervisor.Target, piece ipc.Piece) error {
	switch {
	case p.json:
		p.start()
		p.c.out = append(p.c.out, mustJSON(pieceJSON(from, piece))...)
	case piece.Name == "":
		p.start()
		p.write(piece.Message)
	default:
		return nil
	}
	return p.c.send()
}

func (p *pieceWriter) start() {
	if !p.came {
		p.came = true
		p.c.begin()
	}
}

// write writes text and bytes as they are, and JSON as a line.
func (p *pieceWriter) write(m ipc.Message) {
	b := m.Plain()
	if len(b) == 0 {
		return
	}
	p.c.out = append(p.c.out, b...)
	if p.open = m.Codec != ipc.CodecBytes && b[len(b)-1] != '\n'; p.open && m.Codec == ipc.CodecJSON {
		p.endLine()
	}
}

func (p *pieceWriter) endLine() {
	if p.open {
		p.c.out = append(p.c.out, '\n')
		p.open = false
	}
}

// last writes what the answer ends with.
func (p *pieceWriter) last() error {
	p.write(p.reply.Message)
	p.endLine()
	return nil
}

// send is flush, or says that nobody takes it.
func (c *lineConn) send() error {
	if c.flush(); c.broken {
		return errGone
	}
	return nil
}

// doEvents is "events [SINCE] [TARGET] [follow]".
func (c *lineConn) doEvents(r *lineRequest) (v any, err error) {
	follow := r.takeWord("follow")
	q := eventQuery{last: -1, all: true}
	if i := slices.IndexFunc(r.args, isNumber); i >= 0 {
		if q.since, err = strconv.ParseUint(r.args[i], 10, 64); err != nil {
			return nil, failf(api.CodeBadRequest, "%s: %v", r.args[i], err)
		}
		r.args = slices.Delete(r.args, i, i+1)
	}
	if err := r.take(0, 1); err != nil {
		return nil, err
	}
	if len(r.args) == 1 {
		q.all = false
		if q.target, err = supervisor.ParseTarget(r.args[0]); err != nil {
			return nil, err
		}
	}
	if !follow {
		return c.s.doEvents(context.Background(), c.g.caller, q, 0)
	}
	return c.follow(r, func(ctx context.Context, write func(any) error) error {
		return c.s.followEvents(ctx, c.g.caller, q, func(e api.Events) error {
			if !r.JSON {
				return write(e)
			}
			if e.Missed > 0 {
				if err := write(missed{e.Missed}); err != nil {
					return err
				}
			}
			for _, one := range e.Events {
				if err := write(one); err != nil {
					return err
				}
			}
			return nil
		})
	})
}

// missed is the line of so many events that are no longer kept, with "json".
type missed struct {
	Missed uint64 `json:"missed"`
}

// doLogs is "logs [TARGET] [LINES] [follow]".
func (c *lineConn) doLogs(r *lineRequest) (v any, err error) {
	follow := r.takeWord("follow")
	lines := defaultLines
	if i := slices.IndexFunc(r.args, isNumber); i >= 0 {
		if lines, err = strconv.Atoi(r.args[i]); err != nil {
			return nil, failf(api.CodeBadRequest, "%s: %v", r.args[i], err)
		}
		r.args = slices.Delete(r.args, i, i+1)
	}
	if err := r.take(0, 1); err != nil {
		return nil, err
	}
	all := len(r.args) == 0
	var t supervisor.Target
	if !all {
		if t, err = supervisor.ParseTarget(r.args[0]); err != nil {
			return nil, err
		}
	}
	encode := logText(t.Slot == 0)
	if !follow {
		out, err := c.s.doLogs(c.g.caller, t, all, lines)
		if err != nil || r.JSON {
			return linesJSON(out), err
		}
		c.begin()
		c.out = append(c.out, encode(out)...)
		return nil, nil
	}
	return c.follow(r, func(ctx context.Context, write func(any) error) error {
		return c.s.followLogs(ctx, c.g.caller, t, all, lines, func(out []supervisor.LogLine) error {
			if !r.JSON {
				return write(encode(out))
			}
			for _, l := range out {
				if err := write(lineJSON(l)); err != nil {
					return err
				}
			}
			return nil
		})
	})
}

// logAnswer is the answer to logs with "json".
type logAnswer struct {
	Lines []api.LogLine `json:"lines"`
}

func linesJSON(lines []supervisor.LogLine) logAnswer {
	out := logAnswer{Lines: make([]api.LogLine, len(lines))}
	for i, l := range lines {
		out.Lines[i] = lineJSON(l)
	}
	return out
}

// follow writes what run gives until the client hangs up both ways, or there is no
// more.
func (c *lineConn) follow(r *lineRequest, run func(ctx context.Context, write func(any) error) error) (v any, err error) {
	began := false
	c.whileHere(0, func(ctx context.Context) {
		err = run(ctx, func(v any) error {
			if !began {
				began = true
				c.begin()
			}
			switch text, ok := v.([]byte); {
			case r.JSON:
				c.out = append(c.out, mustJSON(v)...)
			case ok:
				c.out = append(c.out, text...)
			default:
				c.out = appendText(c.out, v)
			}
			return c.send()
		})
	})
	if errors.Is(err, errGone) || errors.Is(err, context.Canceled) {
		c.broken = true // nobody is there for the rest
		return nil, nil
	}
	if errors.Is(err, errHeld) {
		err = nil
		c.quit = !r.JSON && !c.Prompt // the end of the stream is what says so
	}
	if err != nil || !r.JSON {
		return nil, err
	}
	return note("there is no more"), nil
}

// takeWord takes a word off the end of the arguments, and reports whether it was
// there.
func (r *lineRequest) takeWord(word string) bool {
	n := len(r.args) - 1
	if n < 0 || r.args[n] != word {
		return false
	}
	r.args = r.args[:n]
	return true
}

func isNumber(word string) bool { return word != "" && word[0] >= '0' && word[0] <= '9' }

// doUpgrade answers when the new one serves, or nothing has changed.
func (c *lineConn) doUpgrade(r *lineRequest) (any, error) {
	wait, err := r.wait()
	if err != nil {
		return nil, err
	}
	if err := r.take(0, 0); err != nil {
		return nil, err
	}
	if wait == 0 {
		wait = lineWait
	}
	var v api.Upgrade
	c.whileHere(0, func(ctx context.Context) {
		is := c.said()
		is.Owed = &owed{JSON: r.JSON, Before: c.s.cfg.Version}
		v, err = c.s.doUpgrade(ctx, c.g.caller, wait, is)
	})
	return v, err
}

// appendEvents writes "SEQ TIME WORKER KIND TEXT" lines.
func appendEvents(out []byte, e api.Events) []byte {
	if e.Missed > 0 {
		out = append(strconv.AppendUint(append(out, "# "...), e.Missed, 10), " events are no longer kept\n"...)
	}
	for _, ev := range e.Events {
		out = strconv.AppendUint(out, ev.Seq, 10)
		out = append(append(append(out, ' '), ev.At...), ' ')
		out = append(append(out, ev.Target...), '#')
		out = strconv.AppendUint(out, ev.Generation, 10)
		out = append(append(append(out, ' '), ev.Kind...), ' ')
		text := strings.TrimPrefix(ev.Text, ev.Kind+" ") // "exit code 1"
		out = append(append(out, oneLine(text)...), '\n')
	}
	return out
}
