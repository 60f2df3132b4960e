package ipc

import (
	"context"
	"strings"
	"testing"
)

// What there is to write is bounded in a State: a peer that takes nothing is gone on
// with where it is.
func TestStateIsBounded(t *testing.T) {
	noLeaks(t)
	answer := Bytes(make([]byte, DefaultMaxMessage))
	c, p := face(t, Supervisor, Config{Handler: func(context.Context, *Call) (Message, error) { return answer, nil }})
	p.greet(Hello{})
	const calls = maxCarried/DefaultMaxMessage + 1
	for i := range uint32(calls) {
		p.write(call(2+2*i, "y", nil))
	}
	state := func() error {
		pause(t, c)
		defer c.Resume()
		_, err := c.State()
		return err
	}
	eventually(t, "all is queued", func() bool {
		err := state()
		return err != nil && strings.Contains(err.Error(), "bytes more wait to be written than the 67108864 that may")
	})
	for n := 0; n < calls; { // the peer takes it after all
		if f := p.next(); f.Flags&FlagMore == 0 {
			n++
		}
	}
	eventually(t, "it can be carried", func() bool { return state() == nil })
}
