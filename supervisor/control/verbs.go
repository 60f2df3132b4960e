package control

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/user"
	"runtime"
	"strconv"
	"strings"
	"time"

	"example.com/brood/ipc"
	"example.com/brood/supervisor"
	"example.com/brood/supervisor/control/api"
)

// What each verb does, for a caller in either tongue. All of them pass
// [Server.do]. A context that ends, as when a client hangs up, ends the waiting:
// an order that was given is carried out all the same. Only commands are
// cancelled.

// doCommand sends a command to one worker.
func (s *Server) doCommand(ctx context.Context, c *caller, t supervisor.Target, name string, m ipc.Message) (reply supervisor.Reply, err error) {
	t = s.meant(c, t)
	err = s.do(c, ask{verbCommand, scopePool, t, name}, func() error {
		reply, err = s.cfg.Supervisor.Call(ctx, t, name, m)
		return err
	})
	return reply, err
}

// doCommandAll sends a command to every worker of t. What became of it at each is in
// the replies, and the audit has the worst of it.
func (s *Server) doCommandAll(ctx context.Context, c *caller, t supervisor.Target, name string, m ipc.Message) (out api.Replies, err error) {
	t = everyone(s.meant(c, t))
	err = s.do(c, ask{verbCommand, scopePool, t, name}, func() error {
		replies, err := s.cfg.Supervisor.CallAll(ctx, t, name, m)
		if err != nil {
			return err
		}
		var worst error
		out.Replies = make([]api.Reply, len(replies))
		for i, a := range replies {
			out.Replies[i] = replyJSON(a)
			worst = worseOf(worst, a.Err)
		}
		return asTold(worst)
	})
	var told *toldError
	if errors.As(err, &told) {
		return out, nil
	}
	return out, err
}

// everyone is t as the target of a command to all that it names.
func everyone(t supervisor.Target) supervisor.Target {
	t.All = t.All || t.Slot == 0
	return t
}

func replyJSON(a supervisor.AllReply) api.Reply {
	out := api.Reply{Target: a.From.String()}
	if a.Err != nil {
		p := problemOf(a.Err)
		out.Outcome, out.Error = p.Code, p.Detail
		var ce *ipc.CallError
		if errors.As(a.Err, &ce) {
			out.Outcome, out.Started = string(ce.Outcome()), ce.Started.String()
		}
		return out
	}
	out.Outcome = "ok"
	out.Codec, out.Result = value(a.Message)
	return out
}

// value is a payload as a JSON value, and its codec: JSON as it is, text as a
// string, all else as base64. What a worker calls JSON and is not counts as
// bytes.
func value(m ipc.Message) (codec string, v api.Raw) {
	switch {
	case m.Codec == ipc.CodecJSON && json.Valid(m.Payload):
		return m.Codec.String(), api.Raw(m.Payload)
	case m.Codec == ipc.CodecText:
		quoted, _ := json.Marshal(string(m.Payload)) // of a string it does not fail
		return m.Codec.String(), quoted
	}
	quoted := append([]byte{'"'}, base64.StdEncoding.AppendEncode(nil, m.Payload)...)
	return ipc.CodecBytes.String(), append(quoted, '"')
}

// doPing measures the way to one worker and back.
func (s *Server) doPing(ctx context.Context, c *caller, t supervisor.Target) (out api.Ping, err error) {
	t = s.meant(c, t)
	err = s.do(c, ask{verbPing, scopePool, t, ""}, func() error {
		p, err := s.cfg.Supervisor.Ping(ctx, t)
		if err != nil {
			return err
		}
		from := p.From
		from.Generation = 0
		out = api.Ping{
			Target: from.String(), Generation: p.From.Generation, PingUS: p.RTT.Microseconds(),
			Inflight: p.Inflight, OldestMS: p.OldestMS, Status: p.Status,
		}
		return nil
	})
	return out, err
}

// doOrder starts, stops or restarts. With wait 0 it returns what is so far, else
// when each slot has come to what was asked, or not.
func (s *Server) doOrder(ctx context.Context, c *caller, v verb, t supervisor.Target, wait time.Duration) (out api.Results, err error) {
	give := map[verb]func(context.Context, supervisor.Target) ([]supervisor.Result, error){
		verbStart: s.cfg.Supervisor.Start, verbStop: s.cfg.Supervisor.Stop, verbRestart: s.cfg.Supervisor.Restart,
	}[v]
	t = s.meant(c, t)
	err = s.do(c, ask{v, scopePool, t, ""}, func() error {
		ctx, cancel := context.WithTimeout(ctx, wait)
		defer cancel()
		results, err := give(ctx, t)
		if err != nil {
			return err
		}
		out, err = judged(resultsJSON(results), wait > 0)
		return err
	})
	return out, err
}

// doScale gives a pool n workers. It waits as doOrder does.
func (s *Server) doScale(ctx context.Context, c *caller, t supervisor.Target, n int, wait time.Duration) (out api.Results, err error) {
	t = s.meant(c, t)
	err = s.do(c, ask{verbScale, scopePool, t, ""}, func() error {
		ctx, cancel := context.WithTimeout(ctx, wait)
		defer cancel()
		results, err := s.cfg.Supervisor.Scale(ctx, t.Pool, n)
		if err != nil {
			return err
		}
		out, err = judged(resultsJSON(results), wait > 0)
		return err
	})
	return out, err
}

func resultsJSON(results []supervisor.Result) []api.Result {
	out := make([]api.Result, len(results))
	for i, res := range results {
		out[i] = api.Result{
			Target: res.Slot.Target().String(), Outcome: string(res.Outcome), State: string(res.Slot.State),
			Generation: res.Slot.Generation, PID: res.Slot.PID, Text: res.Text, Stderr: res.Stderr,
		}
	}
	return out
}

// accepted is the outcome of what nobody waited for.
const accepted = "accepted"

// judged is the results, or the failure that they are.
func judged(results []api.Result, waited bool) (api.Results, error) {
	counts := map[string]int{}
	for i := range results {
		if !waited && results[i].Outcome == string(supervisor.OutcomeTimeout) {
			results[i].Outcome = accepted
		}
		counts[results[i].Outcome]++
	}
	failed, late := counts[string(supervisor.OutcomeFailed)], counts[string(supervisor.OutcomeTimeout)]
	switch {
	case failed > 0:
		return api.Results{Results: results}, &failure{api.Problem{Code: api.CodeFailed, Results: results,
			Detail: fmt.Sprintf("%d of %d slots did not come to what was asked: %s", failed, len(results), firstText(results, string(supervisor.OutcomeFailed)))}}
	case late > 0:
		return api.Results{Results: results}, &failure{api.Problem{Code: api.CodeTimeout, Results: results,
			Detail: fmt.Sprintf("%d of %d slots are not there yet: %s", late, len(results), firstText(results, string(supervisor.OutcomeTimeout)))}}
	}
	return api.Results{Results: results}, nil
}

// isAccepted: there is something that nobody waited for.
func isAccepted(results []api.Result) bool {
	for _, r := range results {
		if r.Outcome == accepted {
			return true
		}
	}
	return false
}

func firstText(results []api.Result, outcome string) string {
	for _, res := range results {
		if res.Outcome == outcome {
			return res.Target + ": " + res.Text
		}
	}
	return ""
}

// doReload reads the configuration again, and returns when every pool has come to
// what it says, or not.
func (s *Server) doReload(ctx context.Context, c *caller, dryRun bool, wait time.Duration) (out api.Reload, err error) {
	err = s.do(c, ask{verb: verbReload}, func() error {
		if s.cfg.Reload == nil {
			return failf(api.CodeConflict, "there is no configuration file to read again: this supervisor was started with a command")
		}
		ctx, cancel := context.WithTimeout(ctx, wait)
		defer cancel()
		changes, err := s.cfg.Reload(ctx, dryRun)
		if err != nil {
			return err
		}
		out, err = reloaded(changes, dryRun, wait > 0)
		return err
	})
	return out, err
}

// reloaded is the changes, or the failure that they are.
func reloaded(changes []supervisor.Change, dryRun, waited bool) (api.Reload, error) {
	out := api.Reload{DryRun: dryRun, Changes: make([]api.Change, len(changes))}
	var failed, late []string
	for i, c := range changes {
		out.Changes[i] = changeJSON(c)
		for j, r := range out.Changes[i].Results {
			switch {
			case r.Outcome != string(supervisor.OutcomeTimeout):
			case waited:
				late = append(late, c.Pool)
			default:
				out.Changes[i].Results[j].Outcome = accepted
			}
		}
		if c.Failed() {
			failed = append(failed, c.Trouble())
		}
	}
	if len(failed) > 0 {
		return out, &failure{api.Problem{Code: api.CodeFailed, Changes: out.Changes, Detail: strings.Join(failed, "; ")}}
	}
	if len(late) > 0 {
		return out, &failure{api.Problem{Code: api.CodeTimeout, Changes: out.Changes,
			Detail: "it goes on, and these pools are not there yet: " + strings.Join(late, ", ")}}
	}
	return out, nil
}

func changeJSON(c supervisor.Change) api.Change {
	out := api.Change{Pool: c.Pool, Kind: string(c.Kind), Fields: c.Fields, Results: resultsJSON(c.Results), Reverted: c.Reverted}
	if c.Workers != [2]int{} {
		out.Workers = c.Workers[:]
	}
	return out
}

// doUpgrade has another brood take this one's place. Where that comes about it does
// not return, and the other brood goes on with what the caller has said, and first
// gives the answer that is owed.
func (s *Server) doUpgrade(ctx context.Context, c *caller, wait time.Duration, is said) (out api.Upgrade, err error) {
	err = s.do(c, ask{verb: verbUpgrade}, func() error {
		if s.cfg.Upgrade == nil {
			return failf(api.CodeConflict, "this supervisor cannot be upgraded while it runs; stop it and start the other")
		}
		paid, err := s.owe(c, is)
		if err != nil {
			return err
		}
		defer paid()
		ctx, cancel := context.WithTimeout(ctx, wait)
		defer cancel()
		if err := s.cfg.Upgrade(ctx); err != nil {
			return refused(err)
		}
		out = api.Upgrade{Version: s.cfg.Version, Before: s.cfg.Version, PID: os.Getpid()}
		return nil
	})
	return out, err
}

// refused is why an upgrade has not come about, as a problem.
func refused(err error) error {
	if p := bareProblem(err); p.Code == api.CodeInternal {
		return failf(api.CodeFailed, "nothing has changed: %v", err)
	}
	return err
}

// doShutdown stops everything; with wait 0 it returns at once, else when no
// worker is left.
func (s *Server) doShutdown(ctx context.Context, c *caller, wait time.Duration) error {
	return s.do(c, ask{verb: verbShutdown}, func() error {
		s.cfg.Shutdown()
		if wait == 0 {
			return nil
		}
		ctx, cancel := context.WithTimeout(ctx, wait)
		defer cancel()
		select {
		case <-s.cfg.Supervisor.Done():
			return nil
		case <-ctx.Done():
			return failf(api.CodeTimeout, "workers are still stopping after %v", wait)
		}
	})
}

// doWhoami tells the caller who they are.
func (s *Server) doWhoami(c *caller) (api.Whoami, error) {
	if c.err != nil {
		return api.Whoami{}, c.err
	}
	out := s.rights(c).whoami()
	out.UID, out.GID, out.Groups, out.PID, out.Socket = c.peer.UID, c.peer.GID, c.peer.Groups, c.peer.PID, c.door
	if u, err := user.LookupId(strconv.Itoa(c.peer.UID)); err == nil {
		out.User = u.Username
	}
	return out, nil
}

func (s *Server) doVersion(c *caller) (out api.Version, err error) {
	err = s.do(c, ask{verb: verbVersion}, func() error {
		out = api.Version{
			Version: s.cfg.Version, Protocol: [2]int{ipc.Version, ipc.Version},
			Go: runtime.Version(), OS: runtime.GOOS, Arch: runtime.GOARCH,
		}
		return nil
	})
	return out, err
}
