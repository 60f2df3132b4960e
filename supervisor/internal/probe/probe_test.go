package probe

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// fake is a check of which each attempt is a function. The last one is repeated.
type fake struct {
	attempts []func(context.Context) error
	at       []time.Duration // when each began
	began    time.Time
}

func (f *fake) Ready(ctx context.Context) error {
	f.at = append(f.at, time.Since(f.began))
	return f.attempts[min(len(f.at), len(f.attempts))-1](ctx)
}

func fails(text string) func(context.Context) error {
	return func(context.Context) error { return errors.New(text) }
}

func takes(d time.Duration, then func(context.Context) error) func(context.Context) error {
	return func(ctx context.Context) error {
		select {
		case <-time.After(d):
			return then(ctx)
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func is(context.Context) error { return nil }

const ms = time.Millisecond

func TestRun(t *testing.T) {
	for _, c := range []struct {
		name     string
		attempts []func(context.Context) error
		each     time.Duration
		within   time.Duration
		at       []time.Duration
		want     []string // of the error; none: it becomes ready
		attempt  int      // that the error tells of
	}{
		{"at once", []func(context.Context) error{is}, 1000 * ms, 5000 * ms, []time.Duration{0}, nil, 0},
		{"the third time", []func(context.Context) error{fails("a"), fails("b"), is}, 1000 * ms, 5000 * ms,
			[]time.Duration{0, 100 * ms, 200 * ms}, nil, 0},
		{"counted from the end of the one before", []func(context.Context) error{takes(250*ms, fails("a")), is}, 1000 * ms, 5000 * ms,
			[]time.Duration{0, 350 * ms}, nil, 0},
		{"an attempt has its limit", []func(context.Context) error{takes(time.Hour, is), is}, 1000 * ms, 5000 * ms,
			[]time.Duration{0, 1100 * ms}, nil, 0},
		{"or none", []func(context.Context) error{takes(4000*ms, is)}, 0, 5000 * ms, []time.Duration{0}, nil, 0},
		{"never", []func(context.Context) error{fails("first"), fails("then")}, 1000 * ms, 250 * ms,
			[]time.Duration{0, 100 * ms, 200 * ms}, []string{"3 checks", "then"}, 3},
		{"never an answer", []func(context.Context) error{takes(time.Hour, is)}, 1000 * ms, 1500 * ms,
			[]time.Duration{0, 1100 * ms}, []string{"not within 1s"}, 2},
		{"the last is cut short", []func(context.Context) error{fails("the reason"), takes(time.Hour, is)}, 1000 * ms, 300 * ms,
			[]time.Duration{0, 100 * ms}, []string{"2 checks", "the reason"}, 2},
		{"the only one is cut short", []func(context.Context) error{takes(time.Hour, is)}, 1000 * ms, 300 * ms,
			[]time.Duration{0}, []string{"one check", "deadline"}, 1},
		{"too late from the start", []func(context.Context) error{is}, 1000 * ms, -ms, nil, []string{"no check was made", "deadline"}, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithTimeout(context.Background(), c.within)
				defer cancel()
				f := &fake{attempts: c.attempts, began: time.Now()}
				err := Run(ctx, f, 100*ms, c.each)
				if len(f.at) != len(c.at) {
					t.Fatalf("attempts at %v, want %v", f.at, c.at)
				}
				for i := range c.at {
					if f.at[i] != c.at[i] {
						t.Fatalf("attempts at %v, want %v", f.at, c.at)
					}
				}
				if c.want == nil {
					if err != nil {
						t.Error(err)
					}
					return
				}
				wantError(t, err, c.want...)
				var not *NotReadyError
				if !errors.As(err, &not) || not.Attempts != c.attempt || !errors.Is(err, context.DeadlineExceeded) {
					t.Errorf("got %#v", err)
				}
			})
		})
	}
}

func TestRunTellsWhyItWasCanceled(t *testing.T) {
	why := errors.New("the worker has exited")
	ctx, cancel := context.WithCancelCause(context.Background())
	err := Run(ctx, &fake{attempts: []func(context.Context) error{func(context.Context) error {
		cancel(why)
		return errors.New("refused")
	}}}, time.Hour, time.Hour)
	if !errors.Is(err, why) {
		t.Errorf("got %v", err)
	}
	wantError(t, err, "refused")
}

func TestLine(t *testing.T) {
	l, err := ParseLine(`[Ll]istening on port \d+$`)
	if err != nil {
		t.Fatal(err)
	}
	for line, want := range map[string]bool{
		"2026-01-01 listening on port 80": true,
		"Listening on port 8080":          true,
		"listening on port":               false,
		"":                                false,
		"\xff\x00listening on port 1":     true,
		strings.Repeat("x", maxLine-19) + "listening on port 1":       true,
		strings.Repeat("x", maxLine) + "listening on port 1":          false,
		"listening on port 1" + strings.Repeat(" ", 16<<10):           false,
		strings.Repeat("listening on port ", 10000) + "x" + "nothing": false,
	} {
		if got := l.Match([]byte(line)); got != want {
			t.Errorf("%.60q: %v", line, got)
		}
	}
	if (Line{}).Match([]byte("anything")) {
		t.Error("the zero value finds a line")
	}
	for pattern, want := range map[string]string{"": "empty", "(": "missing closing )", `(?=x)`: "(?="} {
		_, err := ParseLine(pattern)
		wantError(t, err, want)
	}
}
