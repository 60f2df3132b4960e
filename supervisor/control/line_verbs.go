package control

import (
	"context"
	"encoding/json"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"time"

	"example.com/brood/ipc"
	"example.com/brood/supervisor"
	"example.com/brood/supervisor/control/api"
	"example.com/brood/supervisor/internal/words"
)

// lineVerb is one command of the line protocol.
type lineVerb struct {
	name  string // one word or two
	usage string // what follows the name
	help  string
	verb  verb // what the caller must be allowed to do; empty: nothing
	do    func(c *lineConn, r *lineRequest) (any, error)
}

// lineRequest is a command under way.
type lineRequest struct {
	lineCommand
	verb verb
	args []string // behind the name
}

// lineVerbs is every command, in the order of help. It is filled in by init, as
// help itself reads it.
var lineVerbs []lineVerb

func init() {
	lineVerbs = []lineVerb{
		{"@TARGET", "COMMAND [WORDS…]", "send a command to web/2, web (one of its workers), web/*, * or @1 (of the only pool)", verbCommand, nil},
		{"health", "[TARGET]", "ok, degraded or critical, and why", verbHealth, (*lineConn).doHealth},
		{"status", "", "everything in one page", verbStatus, (*lineConn).doStatus},
		{"show pools", "", "one line for each pool", verbStatus, (*lineConn).doPools},
		{"show workers", "[TARGET]", "one line for each worker", verbStatus, (*lineConn).doWorkers},
		{"show worker", "TARGET", "all about one worker", verbStatus, (*lineConn).doWorker},
		{"ping", "TARGET", "the round trip to a worker", verbPing, (*lineConn).doPing},
		{"start", "TARGET [wait [TIME]]", "have it up", verbStart, (*lineConn).doOrder},
		{"stop", "TARGET [wait [TIME]]", "have it down", verbStop, (*lineConn).doOrder},
		{"restart", "TARGET [wait [TIME]]", "replace its workers, one after the other", verbRestart, (*lineConn).doOrder},
		{"scale", "POOL N [wait [TIME]]", "have N workers", verbScale, (*lineConn).doScale},
		{"reload", "[dry-run]", "read the configuration again and do what it says", verbReload, (*lineConn).doReload},
		{"upgrade", "[wait [TIME]]", "have the program's new version take over, without stopping a worker", verbUpgrade, (*lineConn).doUpgrade},
		{"shutdown", "[wait [TIME]]", "stop every worker and the supervisor", verbShutdown, (*lineConn).doShutdown},
		{"events", "[SINCE] [TARGET] [follow]", "what has happened; follow: and what happens from now on", verbEvents, (*lineConn).doEvents},
		{"logs", "[TARGET] [LINES] [follow]", "the last lines that workers printed", verbLogs, (*lineConn).doLogs},
		{"whoami", "", "who the kernel says you are, and what you may do", verbWhoami, (*lineConn).doWhoami},
		{"version", "", "of brood and of the worker protocol", verbVersion, (*lineConn).doVersion},
		{"prompt", "", "turn the prompt on or off, for people", "", (*lineConn).doPrompt},
		{"help", "[COMMAND]", "this", "", (*lineConn).doHelp},
		{"quit", "", "hang up", "", (*lineConn).doQuit},
	}
}

// run carries out one command and answers it.
func (c *lineConn) run(cmd lineCommand) {
	r := &lineRequest{lineCommand: cmd}
	v, err := c.answer(r)
	switch {
	case err != nil:
		c.fail(cmd.JSON, err)
	case v != nil:
		c.give(cmd.JSON, v)
	}
	c.end()
}

// answer is the answer, or nil if it has been written. A fault in this program
// costs the one who met with it the connection, as in net/http, and nobody else.
func (c *lineConn) answer(r *lineRequest) (v any, err error) {
	defer func() {
		if fault := recover(); fault != nil {
			c.s.cfg.Log.Error("a fault in a command of the line protocol", "words", r.Words, "fault", fault, "stack", string(debug.Stack()))
			c.quit = true
			v, err = nil, failf(api.CodeInternal, "a fault of brood's own; its log says more")
		}
	}()
	return c.find(r)
}

// find finds what r asks for and does it.
func (c *lineConn) find(r *lineRequest) (any, error) {
	if r.Target != "" {
		r.verb = verbCommand
		return c.permitted(r, r.Target+" "+r.Words[0], c.command)
	}
	v, err := findVerb(r.Words)
	if err != nil {
		return nil, err
	}
	r.verb, r.args = v.verb, r.Words[1+strings.Count(v.name, " "):]
	target := ""
	if len(r.args) > 0 {
		target = r.args[0]
	}
	return c.permitted(r, target, func(r *lineRequest) (any, error) { return v.do(c, r) })
}

// findVerb is the command that words begin with.
func findVerb(said []string) (*lineVerb, error) {
	two := strings.Join(said[:min(2, len(said))], " ")
	var names, begun []string
	for i := range lineVerbs {
		v := &lineVerbs[i]
		if v.do != nil && (v.name == said[0] || v.name == two) {
			return v, nil
		}
		if v.do != nil {
			names = append(names, v.name)
		}
		if strings.HasPrefix(v.name, two+" ") {
			begun = append(begun, strings.TrimSpace(v.name+" "+v.usage))
		}
	}
	if len(begun) > 0 {
		return nil, failf(api.CodeBadRequest, "%s what? write: %s", two, strings.Join(begun, ", or "))
	}
	hint := "; help lists them, and @web/2 in front sends a command to a worker"
	for _, name := range []string{two, said[0]} {
		if near := words.Nearest(name, names); near != "" {
			hint = "; did you mean " + near + "?"
			break
		}
	}
	if said[0] != "" && isHTTP(said[0][0]) { // '' is a word, too
		hint = "; this connection speaks the line protocol, as its first byte was no upper-case letter"
	}
	return nil, failf(api.CodeNotFound, "there is no command %q%s", said[0], hint)
}

// permitted runs do if the caller may do such a thing at all, and there is room
// for it. do passes [Server.do], which looks closer and leaves the audit line.
func (c *lineConn) permitted(r *lineRequest, target string, do func(*lineRequest) (any, error)) (any, error) {
	if rights := c.s.rights(c.g.caller); r.verb != "" && r.verb != verbWhoami && !rights.somewhere(r.verb) {
		t, _ := supervisor.ParseTarget(strings.SplitN(target, " ", 2)[0])
		a := ask{verb: r.verb, scope: scopePool, target: t}
		if r.verb == verbCommand {
			a.command = r.Words[0]
		}
		return nil, c.s.deny(c.g.caller, a, a, rights)
	}
	if err := c.g.mayNow(r.verb); err != nil {
		return nil, err
	}
	return do(r)
}

// answered is a worker's answer.
type answered struct {
	Worker string
	ipc.Message
}

// give writes an answer.
func (c *lineConn) give(asJSON bool, v any) {
	c.begin()
	if !asJSON {
		c.out = appendText(c.out, v)
		return
	}
	out := lineAnswer{Outcome: "ok", Result: v}
	if a, ok := v.(answered); ok {
		out.Worker, out.Codec, out.Result = a.Worker, a.Codec.String(), messageJSON(a.Message)
	}
	c.out = append(c.out, mustJSON(out)...)
}

// lineAnswer is an answer to a command with "json" in front.
type lineAnswer struct {
	Outcome string `json:"outcome"` // ok, or the code of the problem
	Worker  string `json:"worker,omitempty"`
	Codec   string `json:"codec,omitempty"`
	Result  any    `json:"result,omitempty"`
}

func messageJSON(m ipc.Message) any {
	switch {
	case m.Codec == ipc.CodecJSON && json.Valid(m.Payload):
		return json.RawMessage(m.Payload)
	case m.Codec == ipc.CodecText:
		return string(m.Payload)
	}
	return m.Payload
}

// lineProblem is a problem with the outcome in front.
type lineProblem struct {
	Outcome string `json:"outcome"`
	api.Problem
}

// fail writes an error: "error: CODE: …" on the first line, or a problem document.
func (c *lineConn) fail(asJSON bool, err error) {
	c.begin()
	p := problemOf(err)
	if p.Code == api.CodeInternal {
		c.s.cfg.Log.Error("line", "error", err)
	}
	if asJSON {
		c.out = append(c.out, mustJSON(lineProblem{p.Code, p})...)
		return
	}
	c.out = appendProblem(c.out, p)
}

// take says how many arguments there may be.
func (r *lineRequest) take(least, most int) error {
	if len(r.args) >= least && len(r.args) <= most {
		return nil
	}
	v, err := findVerb(r.Words)
	if err != nil {
		return err
	}
	return failf(api.CodeBadRequest, "write: %s", strings.TrimSpace(v.name+" "+v.usage))
}

// wait takes "wait" and its time off the end of the arguments.
func (r *lineRequest) wait() (time.Duration, error) {
	i := slices.Index(r.args, "wait")
	if i < 0 {
		return 0, nil
	}
	rest := r.args[i+1:]
	r.args = r.args[:i]
	if len(rest) == 0 {
		return lineWait, nil
	}
	d, err := time.ParseDuration(rest[0])
	if err != nil || len(rest) > 1 || d <= 0 || d > maxWait {
		return 0, failf(api.CodeBadRequest, "wait %s: write a duration of at most %v, such as 30s", strings.Join(rest, " "), maxWait)
	}
	return d, nil
}

// lineWait is how long "wait" waits if it does not say.
const lineWait = 5 * time.Minute

// oneTarget is the only argument, a target.
func (r *lineRequest) oneTarget() (supervisor.Target, error) {
	if err := r.take(1, 1); err != nil {
		return supervisor.Target{}, err
	}
	return supervisor.ParseTarget(r.args[0])
}

func (c *lineConn) doHealth(r *lineRequest) (any, error) {
	if err := r.take(0, 1); err != nil {
		return nil, err
	}
	if len(r.args) == 0 {
		return c.s.doHealth(c.g.caller, 0)
	}
	return c.s.doHealthOf(c.g.caller, r.args[0], 0)
}

func (c *lineConn) doStatus(r *lineRequest) (any, error) {
	if err := r.take(0, 0); err != nil {
		return nil, err
	}
	return c.s.doStatus(c.g.caller)
}

func (c *lineConn) doPools(r *lineRequest) (any, error) {
	if err := r.take(0, 0); err != nil {
		return nil, err
	}
	return c.s.doPools(c.g.caller)
}

func (c *lineConn) doWorkers(r *lineRequest) (any, error) {
	if err := r.take(0, 1); err != nil {
		return nil, err
	}
	if len(r.args) == 0 {
		return c.s.doWorkers(c.g.caller)
	}
	t, err := supervisor.ParseTarget(r.args[0])
	if err != nil {
		return nil, err
	}
	return c.s.doWorkersOf(c.g.caller, t)
}

func (c *lineConn) doWorker(r *lineRequest) (any, error) {
	t, err := r.oneTarget()
	if err != nil {
		return nil, err
	}
	if t.Slot == 0 {
		return nil, failf(api.CodeBadRequest, "%v is no worker, which is POOL/NUMBER; show workers %v lists them", t, t)
	}
	return c.s.doWorker(c.g.caller, t)
}

func (c *lineConn) doPing(r *lineRequest) (v any, err error) {
	t, err := r.oneTarget()
	if err != nil {
		return nil, err
	}
	limit := defaultCall
	if r.Timeout != 0 {
		limit = r.Timeout
	}
	c.whileHere(limit, func(ctx context.Context) { v, err = c.s.doPing(ctx, c.g.caller, t) })
	return v, err
}

func (c *lineConn) doOrder(r *lineRequest) (v any, err error) {
	wait, err := r.wait()
	if err != nil {
		return nil, err
	}
	t, err := r.oneTarget()
	if err != nil {
		return nil, err
	}
	c.whileHere(0, func(ctx context.Context) { v, err = c.s.doOrder(ctx, c.g.caller, r.verb, t, wait) })
	return v, err
}

func (c *lineConn) doScale(r *lineRequest) (v any, err error) {
	wait, err := r.wait()
	if err != nil {
		return nil, err
	}
	if err := r.take(2, 2); err != nil {
		return nil, err
	}
	t, err := supervisor.ParseTarget(r.args[0])
	if err != nil {
		return nil, err
	}
	n, err := strconv.Atoi(r.args[1])
	if err != nil || n < 1 {
		return nil, failf(api.CodeBadRequest, "scale %s %s: write how many workers the pool is to have, 1 or more", r.args[0], r.args[1])
	}
	c.whileHere(0, func(ctx context.Context) { v, err = c.s.doScale(ctx, c.g.caller, t, n, wait) })
	return v, err
}

func (c *lineConn) doReload(r *lineRequest) (v any, err error) {
	dryRun := slices.Equal(r.args, []string{"dry-run"})
	if !dryRun {
		if err := r.take(0, 0); err != nil {
			return nil, err
		}
	}
	c.whileHere(0, func(ctx context.Context) { v, err = c.s.doReload(ctx, c.g.caller, dryRun, maxWait) })
	return v, err
}

func (c *lineConn) doShutdown(r *lineRequest) (any, error) {
	wait, err := r.wait()
	if err != nil {
		return nil, err
	}
	if err := r.take(0, 0); err != nil {
		return nil, err
	}
	if wait == 0 {
		return note("accepted: the workers are being stopped"), c.s.doShutdown(context.Background(), c.g.caller, 0)
	}
	c.whileHere(0, func(ctx context.Context) { err = c.s.doShutdown(ctx, c.g.caller, wait) })
	return note("done: no worker is left"), err
}

func (c *lineConn) doWhoami(r *lineRequest) (any, error) {
	if err := r.take(0, 0); err != nil {
		return nil, err
	}
	return c.s.doWhoami(c.g.caller)
}

func (c *lineConn) doVersion(r *lineRequest) (any, error) {
	if err := r.take(0, 0); err != nil {
		return nil, err
	}
	return c.s.doVersion(c.g.caller)
}

// note is an answer that says one thing.
type note string

func (c *lineConn) doPrompt(r *lineRequest) (any, error) {
	if err := r.take(0, 0); err != nil {
		return nil, err
	}
	c.Prompt = !c.Prompt
	return nil, nil
}

func (c *lineConn) doQuit(r *lineRequest) (any, error) {
	if err := r.take(0, 0); err != nil {
		return nil, err
	}
	c.quit = true
	return nil, nil
}

func (c *lineConn) doHelp(r *lineRequest) (any, error) {
	if len(r.args) == 0 {
		return note(helpText()), nil
	}
	v, err := findVerb(r.args)
	if err != nil {
		return nil, err
	}
	need := "anybody may"
	if v.verb != "" && v.verb != verbWhoami {
		need = "needs the role " + minRole[v.verb].String()
	}
	return note(strings.TrimSpace(v.name+" "+v.usage) + ": " + v.help + "; " + need), nil
}
