package client

import (
	"context"
	"net/url"
	"strings"
	"time"

	"example.com/brood/ipc"
)

// Where the API has things, and what its content types are.

const (
	// answerLead is how much earlier than a context's deadline the supervisor gives up,
	// so that its answer, which says more, still arrives.
	answerLead = 100 * time.Millisecond
	// answerGrace is how much later than a limit the context of WithLimit ends.
	answerGrace = 3 * time.Second
)

// limitKey is for a time.Time in a context; the zero one says not to wait.
type limitKey struct{}

// WithLimit is a context with which the supervisor is told to give up after limit.
// Its answer, which says how far it is, is waited for some seconds longer: so it
// arrives however short limit is, and however late it comes.
func WithLimit(ctx context.Context, limit time.Duration) (context.Context, context.CancelFunc) {
	at := time.Now().Add(limit)
	return context.WithDeadline(context.WithValue(ctx, limitKey{}, at), at.Add(answerGrace))
}

// NoWait is a context with which an order is not waited for: the supervisor is told
// to answer at once, and ctx's deadline is the answer's alone.
func NoWait(ctx context.Context) context.Context {
	return context.WithValue(ctx, limitKey{}, time.Time{})
}

// timeLeft is a query of the parameters given and, where ctx has a limit or a
// deadline, that under the name; "" without any.
func timeLeft(ctx context.Context, name string, more ...string) string {
	limit, limited := ctx.Value(limitKey{}).(time.Time)
	if deadline, ok := ctx.Deadline(); limited && limit.IsZero() {
		more = append(more, name+"=0s")
	} else if ok {
		left := time.Until(deadline)
		left = max(left-answerLead, left/2)
		if limited {
			left = min(left, time.Until(limit))
		}
		more = append(more, name+"="+max(left, time.Millisecond).Round(time.Millisecond).String())
	}
	if len(more) == 0 {
		return ""
	}
	return "?" + strings.Join(more, "&")
}

// targetPath is where the API has a target.
func targetPath(target string) string {
	text := strings.TrimPrefix(target, "@")
	pool, slot, hasSlot := strings.Cut(text, "/")
	if !hasSlot && text != target && text != "" && strings.Trim(text, "0123456789") == "" {
		pool, slot, hasSlot = "@", text, true
	}
	if !hasSlot || slot == "*" {
		return "/v1/pools/" + url.PathEscape(pool) // ".." and the like are refused by ParseTarget on either side
	}
	return "/v1/workers/" + url.PathEscape(pool) + "/" + url.PathEscape(slot)
}

func commandPath(target, command string) string {
	name := url.PathEscape(command)
	if command == "." || command == ".." { // not to be taken for the way to another page
		name = strings.ReplaceAll(command, ".", "%2E")
	}
	return targetPath(target) + "/commands/" + name
}

// allPath is where every worker of target is asked.
func allPath(ctx context.Context, target, command string) string {
	return commandPath(strings.TrimSuffix(target, "/*"), command) + timeLeft(ctx, "timeout", "all=true")
}

func escapeTarget(target string) string {
	return strings.ReplaceAll(url.PathEscape(target), "%2F", "/")
}

func contentType(c ipc.Codec) string {
	switch c {
	case ipc.CodecJSON:
		return "application/json"
	case ipc.CodecText:
		return "text/plain; charset=utf-8"
	}
	return "application/octet-stream"
}

func codecOf(contentType string) ipc.Codec {
	switch {
	case strings.HasPrefix(contentType, "application/json"):
		return ipc.CodecJSON
	case strings.HasPrefix(contentType, "text/"):
		return ipc.CodecText
	}
	return ipc.CodecBytes
}

// NamesSlot: the target, which is well-formed, is one slot and no pool.
func NamesSlot(target string) bool { return strings.HasPrefix(targetPath(target), "/v1/workers/") }
