package control

import (
	"bytes"
	"fmt"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"
	"unicode"

	"example.com/brood/ipc"
	"example.com/brood/supervisor/control/api"
)

// How answers look without "json": for people, awk and grep. No answer of the
// supervisor's own has an empty line; columns are words separated by two spaces or
// more, the last may have spaces; "-" stands for nothing.

// appendText writes an answer. It ends in a newline, but for a worker's bytes.
func appendText(out []byte, v any) []byte {
	switch v := v.(type) {
	case answered:
		return appendMessage(out, v.Message)
	case note:
		return fmt.Appendln(out, v)
	case api.Health:
		return fmt.Appendf(out, "%s: %s\n", v.Health, oneLine(v.Text))
	case api.Status:
		return appendStatus(out, v)
	case api.Pools:
		return appendPools(out, v.Pools)
	case api.Workers:
		return appendWorkers(out, v.Workers)
	case api.Worker:
		return appendWorker(out, v)
	case api.Events:
		return appendEvents(out, v)
	case api.Ping:
		return fmt.Appendf(out, "%s#%d %dus, %d busy\n", v.Target, v.Generation, v.PingUS, v.Inflight)
	case api.Results:
		return appendResults(out, v.Results)
	case api.Reload:
		return appendChanges(out, v.Changes)
	case api.Replies:
		return appendReplies(out, v.Replies)
	case api.Whoami:
		return fmt.Appendf(out, "uid %d, user %s, gid %d, pid %d, role %s: %s\n", v.UID, dash(v.User), v.GID, v.PID, v.Rights(), oneLine(v.Reason))
	case api.Upgrade:
		return fmt.Appendf(out, "done: the supervisor is now brood %s\n", oneLine(v.Version))
	case api.Version:
		return fmt.Appendf(out, "brood %s, worker protocol %d to %d, %s, %s/%s\n", v.Version, v.Protocol[0], v.Protocol[1], v.Go, v.OS, v.Arch)
	}
	return append(out, mustJSON(v)...)
}

// appendMessage writes text as lines and bytes as they are.
func appendMessage(out []byte, m ipc.Message) []byte {
	b := m.Plain()
	out = append(out, b...)
	if m.Codec != ipc.CodecBytes && (len(b) == 0 || b[len(b)-1] != '\n') {
		out = append(out, '\n')
	}
	return out
}

// appendProblem writes "error: CODE: …" and what became of each slot.
func appendProblem(out []byte, p api.Problem) []byte {
	out = fmt.Appendf(out, "error: %s: %s\n", p.Code, oneLine(p.Detail))
	out = appendResults(out, p.Results)
	return appendChanges(out, p.Changes)
}

func appendStatus(out []byte, st api.Status) []byte {
	up := "not running"
	if t, err := time.Parse(time.RFC3339Nano, st.Started); err == nil {
		up = "up " + ago(time.Since(t))
	}
	out = fmt.Appendf(out, "brood %s, pid %d, %s, %s\n", st.Version, st.PID, up, st.Health)
	var all []api.Worker
	for _, p := range st.Pools {
		all = append(all, p.Slots...)
	}
	return appendWorkers(appendPools(out, st.Pools), all)
}

func appendPools(out []byte, pools []api.Pool) []byte {
	return appendTable(out, "# pool\thealth\tready\tworkers\tmin_ready\tqueued", func(w *tabwriter.Writer) {
		for _, p := range pools {
			fmt.Fprintf(w, "%s\t%s\t%d\t%d\t%d\t%d\n", p.Name, p.Health, p.Ready, p.Workers, p.MinReady, p.Queued)
		}
	})
}

func appendWorkers(out []byte, workers []api.Worker) []byte {
	return appendTable(out, "# worker\tstate\tpid\tup\trestarts\tbusy\tping\tnote", func(w *tabwriter.Writer) {
		for _, x := range workers {
			up, busy, ping := "", "", ""
			if x.PID != 0 {
				up = ago(time.Duration(x.UptimeMS) * time.Millisecond)
			}
			if x.SDK != "" {
				busy = strconv.Itoa(x.Inflight)
			}
			if x.PingUS != 0 {
				ping = strconv.FormatInt(x.PingUS, 10) + "us"
			}
			fmt.Fprintf(w, "%s#%d\t%s\t%s\t%s\t%d\t%s\t%s\t%s\n", x.Target, x.Generation, stateText(x),
				dash(number(x.PID)), dash(up), x.Restarts, dash(busy), dash(ping), dash(oneLine(noteOf(x))))
		}
	})
}

// stateText is the state, or what is worse.
func stateText(x api.Worker) string {
	if x.Responsive != nil && !*x.Responsive {
		return "hung"
	}
	return x.State
}

// noteOf is the one thing worth knowing beside the numbers.
func noteOf(x api.Worker) string {
	switch {
	case x.State != "ready" && x.Reason != "":
		return x.Reason
	case x.Status != "":
		return x.Status
	case x.LastExit != nil:
		return "before: " + x.LastExit.Text
	}
	return ""
}

func appendTable(out []byte, head string, rows func(*tabwriter.Writer)) []byte {
	var b bytes.Buffer
	w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, head)
	rows(w)
	w.Flush() // into memory
	for line := range bytes.Lines(b.Bytes()) {
		out = append(append(out, bytes.TrimRight(line, " \n")...), '\n')
	}
	return out
}

// appendWorker writes "name: value" lines; the names are those of the JSON.
func appendWorker(out []byte, x api.Worker) []byte {
	line := func(name, value string) {
		if value != "" {
			out = fmt.Appendf(out, "%s: %s\n", name, oneLine(value))
		}
	}
	line("target", x.Target)
	line("generation", strconv.FormatUint(x.Generation, 10))
	line("state", x.State)
	line("want", x.Want)
	line("reason", x.Reason)
	line("pid", number(x.PID))
	line("alive", strconv.FormatBool(x.Alive))
	line("ready", strconv.FormatBool(x.Ready))
	line("responsive", truthText(x.Responsive))
	line("progressing", truthText(x.Progressing))
	line("since", x.Since)
	line("started", x.Started)
	line("uptime_ms", number(int(x.UptimeMS)))
	line("retry_in_ms", number(int(x.RetryInMS)))
	line("restarts", strconv.Itoa(x.Restarts))
	line("status", x.Status)
	line("inflight", strconv.Itoa(x.Inflight))
	line("ping_us", number(int(x.PingUS)))
	line("sdk", x.SDK)
	line("log_drops", number(int(x.LogDrops)))
	for _, c := range x.Commands {
		line("command", strings.TrimSpace(c.Name+" "+c.Help))
	}
	for _, e := range x.Exits {
		line("exit", fmt.Sprintf("%s#%d %s after %dms, %s", x.Target, e.Generation, e.Text, e.UptimeMS, e.At))
	}
	return out
}

func truthText(b *bool) string {
	if b == nil {
		return ""
	}
	return strconv.FormatBool(*b)
}

func appendResults(out []byte, results []api.Result) []byte {
	for _, r := range results {
		out = append(out, r.Target...)
		if r.Generation != 0 {
			out = fmt.Appendf(out, "#%d", r.Generation)
		}
		out = fmt.Appendf(out, " %s", r.Outcome)
		if r.State != "" { // else it is of a whole pool
			out = fmt.Appendf(out, ": %s", r.State)
		}
		if r.PID != 0 {
			out = fmt.Appendf(out, ", pid %d", r.PID)
		}
		if r.Text != "" {
			out = fmt.Appendf(out, " (%s)", oneLine(strings.TrimPrefix(r.Text, r.State+": ")))
		}
		out = append(out, '\n')
		for _, text := range r.Stderr {
			out = fmt.Appendf(out, "  stderr: %s\n", oneLine(text))
		}
	}
	return out
}

func appendChanges(out []byte, changes []api.Change) []byte {
	for _, c := range changes {
		out = fmt.Appendf(out, "%s: %s", c.Pool, c.Kind)
		if c.Reverted {
			out = append(out, ", reverted"...)
		}
		if len(c.Fields) > 0 {
			out = fmt.Appendf(out, " (%s)", strings.Join(c.Fields, ", "))
		}
		if len(c.Workers) == 2 {
			out = fmt.Appendf(out, ", %d -> %d workers", c.Workers[0], c.Workers[1])
		}
		out = appendResults(append(out, '\n'), c.Results)
	}
	return out
}

// appendReplies writes "web/1#1: answer", and further lines of an answer with the
// same in front, so that grep finds them.
func appendReplies(out []byte, replies []api.Reply) []byte {
	for _, r := range replies {
		for line := range strings.Lines(replyText(r) + "\n") {
			if line = strings.TrimSuffix(line, "\n"); line != "" || !strings.Contains(replyText(r), "\n") {
				out = fmt.Appendf(out, "%s: %s\n", r.Target, line)
			}
		}
	}
	return out
}

func replyText(r api.Reply) string {
	if r.Outcome != "ok" {
		return "error: " + r.Outcome + ": " + oneLine(r.Error)
	}
	switch v := r.Result.(type) {
	case nil:
		return ""
	case string:
		return v
	case api.Raw: // bytes are base64 already
		return string(ipc.Message{Codec: ipc.CodecJSON, Payload: v}.Plain())
	}
	return fmt.Sprint(r.Result)
}

func number(n int) string {
	if n == 0 {
		return ""
	}
	return strconv.Itoa(n)
}

func dash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

// oneLine is s without anything that could end the line, move the cursor or turn
// the direction of writing.
func oneLine(s string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) || unicode.In(r, unicode.Zl, unicode.Zp, unicode.Bidi_Control) {
			return ' '
		}
		return r
	}, s)
}

// ago is d as people say it.
func ago(d time.Duration) string {
	switch {
	case d < time.Minute:
		return d.Truncate(time.Second).String()
	case d < 24*time.Hour:
		return strings.TrimSuffix(d.Truncate(time.Second).String(), "0s")
	}
	return fmt.Sprintf("%dd%dh", d/(24*time.Hour), d%(24*time.Hour)/time.Hour)
}

func helpText() string {
	var b strings.Builder
	w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	for _, v := range lineVerbs {
		fmt.Fprintf(w, "%s\t%s\n", strings.TrimSpace(v.name+" "+v.usage), v.help)
	}
	w.Flush() // into memory
	b.WriteString(`A command a line, or several with ";" between. "json" in front: the answer is one line of JSON; "timeout 5s": not the usual 30s.
Quotes and \ as in a shell; \n is a new line. When all is asked, shut down the sending half and read until the end.`)
	return b.String()
}
