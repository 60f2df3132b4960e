package ipc

import (
	"context"
	"encoding/json"
	"errors"
	"sync"
	"testing"
	"time"
)

// As many may wait for a ping at once as like to; each is answered.
func TestPingsOfMany(t *testing.T) {
	noLeaks(t)
	c, p := face(t, Supervisor, Config{})
	p.greet(Hello{})
	var wg sync.WaitGroup
	for range 5 * maxPings {
		wg.Go(func() {
			rtt, pong, err := c.Ping(within(t))
			if err != nil || rtt < 0 || pong.Inflight != 3 {
				t.Errorf("%v %+v %v", rtt, pong, err)
			}
		})
	}
	var pings []Frame
	for range 5 * maxPings {
		pings = append(pings, p.want(TypePing, 0))
	}
	for _, f := range pings {
		p.write(Frame{Header: Header{Type: TypePong, Arg: f.Arg, Codec: CodecJSON}, Payload: []byte(`{"inflight":3}`)})
	}
	wg.Wait()
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.pings) != 0 {
		t.Errorf("%d pings are remembered", len(c.pings))
	}
}

// Pings that nobody answers are forgotten: those that are waited for with their
// callers, the others when there are newer ones.
func TestUnansweredPings(t *testing.T) {
	var told []uint32
	c, p := face(t, Supervisor, Config{OnPong: func(token uint32, _ time.Duration, _ Pong) { told = append(told, token) }})
	p.greet(Hello{})
	ctx, cancel := context.WithCancel(within(t))
	waiting := make(chan error)
	go func() {
		_, _, err := c.Ping(ctx)
		waiting <- err
	}()
	awaited := p.want(TypePing, 0).Arg
	var tokens []uint32
	for range 3 * maxPings {
		token, err := c.SendPing()
		if err != nil {
			t.Fatal(err)
		}
		tokens = append(tokens, token)
	}
	c.mu.Lock()
	n := len(c.pings)
	c.mu.Unlock()
	if n != maxPings+1 {
		t.Errorf("%d pings are remembered", n)
	}
	cancel()
	if err := <-waiting; !errors.Is(err, ErrCanceled) {
		t.Error(err)
	}
	c.mu.Lock()
	n = len(c.pings)
	c.mu.Unlock()
	if n != maxPings {
		t.Errorf("%d pings are remembered of those that nobody waits for", n)
	}
	for _, token := range append(tokens, awaited, 1<<30) {
		p.write(Frame{Header: Header{Type: TypePong, Arg: token}})
	}
	p.write(Frame{Header: Header{Type: TypePing}})
	for p.next().Type != TypePong { // by then all that came before has been told
	}
	c.Close()
	if len(told) != maxPings || told[0] != tokens[2*maxPings] {
		t.Errorf("told of %d, from %d", len(told), told[0])
	}
}

func TestPingEndsWithItsTimeOrTheConnection(t *testing.T) {
	c, p := face(t, Supervisor, Config{})
	p.greet(Hello{})
	ctx, cancel := context.WithTimeout(context.Background(), time.Millisecond)
	defer cancel()
	if _, _, err := c.Ping(ctx); !errors.Is(err, ErrTimeout) {
		t.Error(err)
	}
	go func() {
		p.want(TypePing, 0)
		p.want(TypePing, 0)
		p.f.Close()
	}()
	if _, _, err := c.Ping(within(t)); !errors.Is(err, ErrLost) {
		t.Error(err)
	}
}

// A PONG tells what is at work: calls whose answers merely wait are not.
func TestPongTells(t *testing.T) {
	beat := int64(5)
	_, p := faceNarrow(t, Worker, Config{
		Pong: func() Pong { return Pong{BeatMS: &beat, Status: "warm", Inflight: 99} },
		Handler: func(ctx context.Context, c *Call) (Message, error) {
			if c.Command == "block" {
				<-ctx.Done()
			}
			return Bytes(make([]byte, 1<<20)), nil
		},
	})
	p.greet(Hello{})
	p.write(call(1, "block", nil), call(3, "answer", nil))
	p.want(TypeResult, 3)
	p.write(Frame{Header: Header{Type: TypePing, Arg: 4}})
	f, _ := aheadOf(t, p, TypePong)
	var pong Pong
	if err := json.Unmarshal(f.Payload, &pong); err != nil || f.Arg != 4 {
		t.Fatalf("%d %s %v", f.Arg, f.Payload, err)
	}
	if pong.Inflight != 1 || pong.OldestMS < 0 || *pong.BeatMS != 5 || pong.Status != "warm" {
		t.Errorf("%s", f.Payload)
	}
}
