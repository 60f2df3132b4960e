package control

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"strings"
	"sync"
	"time"

	"example.com/brood/supervisor/control/api"
)

// The line protocol, for socat and ten-line clients (docs/line.md). A connection
// is one goroutine, which reads a line, does what it says, answers, and reads the
// next; while a command takes long a second one watches for a client that hangs
// up.

// Limits of a connection that speaks it.
const (
	maxLine    = 64 << 10         // bytes, without its end
	lineTime   = 30 * time.Second // for a line that has begun to end
	promptTime = 10 * time.Minute // between the lines of a person, who has a prompt
	fullOut    = 32 << 10         // bytes of answers that are sent without waiting for more
)

// lineConn is a connection that speaks the line protocol. When it ends, its
// buffers serve another.
type lineConn struct {
	first [firstBytes]byte // room for what is read, unless a line is longer
	out   []byte           // answers that are not sent yet
	lineState
}

// lineState is what a lineConn knows of the connection at hand.
type lineState struct {
	s *Server
	g *guest

	in       []byte // read and not done yet
	room     []byte // what in is a part of
	searched int    // bytes of in that hold no end of a line
	began    bool   // the line in in has its deadline
	lineMemory

	begun  bool // the answer to the command at hand has
	quit   bool // nothing more is read
	broken bool // the client does not take answers any more
}

// lineMemory is what is to be known of a connection, beside what it has said, to go
// on with it.
type lineMemory struct {
	EOF     bool          `json:",omitempty"` // the client has shut its sending half down
	Answers int           `json:",omitempty"` // begun so far
	Prompt  bool          `json:",omitempty"` // a person is there
	Todo    []lineCommand `json:",omitempty"` // of the line at hand
}

var lineConns = sync.Pool{New: func() any { return new(lineConn) }}

// Why reading ends.
var (
	errLineTooLong = errors.New("a line is longer than is taken")
	errNoText      = errors.New("a line is no text")
	errUnended     = errors.New("the last line has no end")
)

// serve speaks with g, whose first n bytes are in c.first, until the end, or until a
// hold is on.
func (c *lineConn) serve(s *Server, g *guest, n int) {
	c.lineState = lineState{s: s, g: g, in: c.first[:n], room: c.first[:]}
	c.speak()
}

// resume is serve for one with whom somebody has spoken before.
func (c *lineConn) resume(s *Server, g *guest, was said) {
	c.lineState = lineState{s: s, g: g, room: c.first[:], lineMemory: *was.Line}
	if len(was.Ahead) > len(c.room) {
		c.room = was.Ahead
	}
	c.in = c.room[:copy(c.room, was.Ahead)]
	if was.Owed != nil {
		c.pay(was.Owed)
	}
	c.speak()
}

// pay gives the answer that is owed, and does what is left of its line.
func (c *lineConn) pay(o *owed) {
	if !c.g.house.begin(c.g) {
		c.broken = true
		return
	}
	c.give(o.JSON, c.s.upgraded(c.g.caller, o))
	c.quit = c.quit || o.Close
	c.end()
	c.goOn()
	c.flush()
	c.quit = c.quit || !c.g.house.end(c.g)
}

func (c *lineConn) speak() {
	held := c.converse()
	c.flush()
	g := c.g
	switch {
	case held && !c.broken:
		g.house.park(g, c.said())
	case !c.EOF && !c.broken && !isHungUp(g.UnixConn):
		linger(g.UnixConn)
		fallthrough
	default:
		g.Close()
	}
	c.lineState = lineState{}
}

// said is what the client has said that nothing was done about yet.
func (c *lineConn) said() said {
	memory := c.lineMemory
	return said{Tongue: tongueLine, Ahead: bytes.Clone(c.in), Line: &memory}
}

// converse is true when a hold has ended it.
func (c *lineConn) converse() (held bool) {
	for !c.quit && !c.broken {
		if c.g.house.isHeld() {
			return true
		}
		line, err := c.readLine()
		if errors.Is(err, errHeld) {
			return true
		}
		if errors.Is(err, errNoText) && c.Prompt { // a key that a terminal makes an escape sequence of
			c.fail(false, failf(api.CodeBadRequest, "%v", err))
			c.end()
			continue
		}
		if err != nil {
			c.lastWord(err)
			return false
		}
		if !c.g.house.begin(c.g) {
			return false // it was evicted before it said so
		}
		if len(c.in) == 0 {
			c.readAhead()
		}
		c.do(line)
		if c.EOF && len(c.in) == 0 {
			return false
		}
		if bytes.IndexByte(c.in, '\n') < 0 {
			c.flush()
			c.quit = c.quit || !c.g.house.end(c.g)
		}
	}
	return false
}

// readLine is the next line without its end. It is valid until the next call.
func (c *lineConn) readLine() (string, error) {
	for {
		if i := bytes.IndexByte(c.in[c.searched:], '\n'); i >= 0 {
			line := c.in[:c.searched+i]
			c.in = c.in[c.searched+i+1:]
			c.searched, c.began = 0, false
			return c.text(line)
		}
		if bad := badByte(c.in[c.searched:]); bad != "" && !c.Prompt { // its line may never end
			return "", noText{bad}
		}
		c.searched = len(c.in)
		if len(c.in) > maxLine {
			return "", errLineTooLong
		}
		if err := c.read(); err != nil {
			return "", err
		}
	}
}

func (c *lineConn) text(line []byte) (string, error) {
	line = bytes.TrimSuffix(line, []byte{'\r'})
	if len(line) > maxLine {
		return "", errLineTooLong
	}
	if bad := badLine(line); bad != "" {
		return "", noText{bad}
	}
	return string(line), nil
}

// noText is errNoText and says what is there instead.
type noText struct{ bad string }

func (e noText) Error() string { return errNoText.Error() + ": there is " + e.bad }
func (e noText) Unwrap() error { return errNoText }

// read waits for more.
func (c *lineConn) read() error {
	c.flush()
	if c.broken {
		return io.ErrClosedPipe
	}
	switch wait := c.patience(); {
	case len(c.in) == 0:
		_ = c.g.UnixConn.SetReadDeadline(time.Now().Add(wait))
	case !c.began:
		c.began = true
		_ = c.g.UnixConn.SetReadDeadline(time.Now().Add(lineTime))
	}
	c.makeRoom()
	was := len(c.in)
	n, err := c.g.await(c.room[was:])
	c.in = c.room[:was+n]
	c.g.asked.Store(bytes.IndexByte(c.in[was:], '\n') >= 0)
	if err == nil || errors.Is(err, errHeld) {
		return err
	}
	c.EOF = errors.Is(err, io.EOF)
	if c.EOF && len(c.in) > 0 {
		return errUnended
	}
	return err
}

// readAhead reads what is there already, without waiting. Mostly that is the end,
// and to know it before the answer is written lets the connection be closed right
// after: a client that waits for the end is woken once, not twice.
func (c *lineConn) readAhead() {
	c.makeRoom()
	n, eof := readNow(c.g.UnixConn, c.room)
	c.in, c.EOF = c.room[:n], eof
}

func (c *lineConn) patience() time.Duration {
	if c.Prompt {
		return promptTime
	}
	return idleTime
}

// makeRoom moves in to the front of room, and takes a larger one when a long line
// needs it.
func (c *lineConn) makeRoom() {
	if len(c.in) < len(c.room) {
		copy(c.room, c.in)
	} else {
		room := make([]byte, min(4*len(c.room), maxLine+2)) // the line, CR and LF
		copy(room, c.in)
		c.room = room
	}
	c.in = c.room[:len(c.in)]
}

// lastWord tells the client why it is hung up on, if it is.
func (c *lineConn) lastWord(err error) {
	if !c.g.house.begin(c.g) {
		return
	}
	code := api.CodeBadRequest
	switch {
	case errors.Is(err, errLineTooLong):
		code = api.CodeTooLarge
		err = failf(code, "a line may have %d bytes", maxLine)
	case errors.Is(err, errUnended):
		err = failf(code, "%v; nothing of it was done: each line ends in a newline", err)
	case errors.Is(err, errNoText):
		err = failf(code, "%v; send bytes to a worker over HTTP", err)
	case errors.Is(err, os.ErrDeadlineExceeded) && len(c.in) > 0:
		err = failf(code, "the line did not end within %v", lineTime)
	default:
		return // the client has closed, or was idle for too long
	}
	c.fail(false, err)
}

// do does what a line says, in order.
func (c *lineConn) do(line string) {
	commands, err := parseLine(line)
	if err != nil {
		c.fail(strings.HasPrefix(strings.TrimSpace(line), "json "), err)
		c.end()
		return
	}
	if len(commands) == 0 && c.Prompt {
		c.write("> ")
	}
	c.Todo = commands
	c.goOn()
}

// goOn does what is left of the line at hand.
func (c *lineConn) goOn() {
	for len(c.Todo) > 0 && !c.quit && !c.broken {
		cmd := c.Todo[0]
		c.Todo = c.Todo[1:]
		c.run(cmd)
	}
	c.Todo = nil
}

// begin is in front of every answer that says something: an empty line separates
// it from the one before.
func (c *lineConn) begin() {
	if c.begun {
		return
	}
	c.begun = true
	if c.Answers++; c.Answers > 1 && !c.Prompt {
		c.write("\n")
	}
}

// end is behind every answer: a person is given the prompt back.
func (c *lineConn) end() {
	c.begun = false
	if c.Prompt && !c.quit {
		c.write("\n> ")
	}
	if len(c.out) > fullOut {
		c.flush()
	}
}

func (c *lineConn) write(text string) { c.out = append(c.out, text...) }

// flush sends what is there. A client that does not take it in time is hung up on.
func (c *lineConn) flush() {
	if len(c.out) == 0 || c.broken {
		c.out = c.out[:0]
		return
	}
	_ = c.g.UnixConn.SetWriteDeadline(time.Now().Add(answerTime))
	if _, err := c.g.send(c.out); err != nil {
		c.broken = true
	}
	if c.out = c.out[:0]; cap(c.out) > 4*fullOut {
		c.out = nil
	}
}

// whileHere runs f with a context that ends after limit, if that is not 0, when the
// client hangs up both ways, or when the server closes.
func (c *lineConn) whileHere(limit time.Duration, f func(context.Context)) {
	ctx, cancel := c.context(limit)
	defer cancel()
	c.flush() // what was asked before is not to wait
	w := watch{conn: c.g.UnixConn, gone: cancel}
	c.s.watch(&w)
	f(ctx)
	if c.s.unwatch(&w) {
		c.began = false // the deadline of a line that has begun is set anew
	}
}

func (c *lineConn) context(limit time.Duration) (context.Context, context.CancelFunc) {
	if limit > 0 {
		return context.WithTimeout(context.Background(), limit)
	}
	return context.WithCancel(context.Background())
}
