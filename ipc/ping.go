package ipc

import (
	"context"
	"slices"
	"time"
)

// ping is one that waits for its PONG.
type ping struct {
	token uint32
	at    time.Time
	wait  chan<- pongAt // nil: OnPong is told
}

type pongAt struct {
	rtt  time.Duration
	pong Pong
}

// maxPings bounds what is remembered of SendPing's pings that nobody answers.
const maxPings = 32

// Ping measures a round trip. The answer comes from the peer's reader, so it
// says that the process runs, not that its commands do.
func (c *Conn) Ping(ctx context.Context) (time.Duration, Pong, error) {
	wait := make(chan pongAt, 1)
	token, err := c.sendPing(wait)
	defer c.takePing(token)
	if err != nil && c.Err() == nil {
		return 0, Pong{}, err
	}
	select {
	case p := <-wait:
		return p.rtt, p.pong, nil
	case <-ctx.Done():
		return 0, Pong{}, &CallError{Code: ctxCode(ctx), Message: "no answer to a ping"}
	case <-c.ctx.Done():
		return 0, Pong{}, &CallError{Code: ErrLost, Message: "the connection ended: " + context.Cause(c.ctx).Error()}
	}
}

// SendPing sends a ping and returns its token; OnPong is called with it when
// the answer comes, if it comes. It fails with ErrOverloaded when the peer has
// not read for so long that there is no room.
func (c *Conn) SendPing() (token uint32, err error) { return c.sendPing(nil) }

func (c *Conn) sendPing(wait chan<- pongAt) (uint32, error) {
	c.mu.Lock()
	c.lastPing++
	token := c.lastPing
	if wait == nil {
		c.dropOldPing()
	}
	c.pings = append(c.pings, ping{token, time.Now(), wait})
	c.mu.Unlock()
	return token, c.control(Header{Type: TypePing, Arg: token})
}

// dropOldPing makes room for one more of SendPing's. Those that are waited for
// are as many as their callers. The caller holds mu.
func (c *Conn) dropOldPing() {
	oldest, n := 0, 0
	for i, p := range slices.Backward(c.pings) {
		if p.wait == nil {
			oldest = i
			n++
		}
	}
	if n >= maxPings {
		c.pings = slices.Delete(c.pings, oldest, oldest+1)
	}
}

// takePing removes a ping from those that wait; false: it was not there.
func (c *Conn) takePing(token uint32) (ping, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	i := slices.IndexFunc(c.pings, func(p ping) bool { return p.token == token })
	if i < 0 {
		return ping{}, false
	}
	p := c.pings[i]
	c.pings = slices.Delete(c.pings, i, i+1)
	return p, true
}

// onPong pairs an answer with its ping. One nobody waits for is dropped: it
// came after its time.
func (c *Conn) onPong(token uint32, p Pong) {
	now := time.Now()
	sent, ok := c.takePing(token)
	switch {
	case !ok:
	case sent.wait != nil:
		sent.wait <- pongAt{now.Sub(sent.at), p}
	case c.cfg.OnPong != nil:
		c.cfg.OnPong(token, now.Sub(sent.at), p)
	}
}
