package supervisor

import (
	"errors"
	"fmt"
	"testing"

	"example.com/brood/supervisor/handover"
)

// A connection that did not survive an upgrade is none at the next one.
func TestKeepBrokenLink(t *testing.T) {
	var v keptLive
	var out handover.Out
	if err := v.keepConn(brokenLink{errors.New("no such descriptor")}, &out); err != nil {
		t.Fatal(err)
	}
	if v.ConnFD != -1 || v.Conn.Ended != "no such descriptor" || len(out.FDs()) > 0 {
		t.Errorf("%+v", v)
	}
}

// Of the output the last lines are kept, as many as there is room for: whole ones, and
// none is left out between.
func TestKeepLines(t *testing.T) {
	const n, size = 3000, 20
	var r logRing
	for i := range n {
		r.add(logRecord{seq: uint64(i)}, fmt.Appendf(nil, "%*d", size, i))
	}
	_, begin := r.keep(n * size)
	for _, x := range []struct{ most, want int }{{0, 0}, {size - 1, 0}, {size, 1}, {100*size + 1, 100}, {n * size, n - int(begin)}} {
		lines, first := r.keep(x.most)
		if len(lines) != x.want || first != uint64(n-x.want) {
			t.Errorf("of %d bytes: %d lines from %d on, want %d", x.most, len(lines), first, x.want)
		}
		for i, l := range lines { // the last one first
			if want := n - 1 - i; l.Seq != uint64(want) || string(l.Text) != fmt.Sprintf("%*d", size, want) {
				t.Fatalf("of %d bytes: line %d is %d %q", x.most, i, l.Seq, l.Text)
			}
		}
	}
}
