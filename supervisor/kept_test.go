package supervisor

import (
	"errors"
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
