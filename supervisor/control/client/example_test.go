package client_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"example.com/brood/ipc"
	"example.com/brood/supervisor/control/api"
	"example.com/brood/supervisor/control/client"
)

// made is the supervisor of the examples, in place of client.New(client.DefaultPath()).
func made() (*client.Client, func()) {
	return fake(map[string]page{
		"POST /v1/workers/web/2/commands/flush": {"application/json", 0, `{"flushed":3}`},
		"POST /v1/workers/web/3/commands/flush": {"application/problem+json", 502,
			`{"code":"lost","detail":"web/3#1: flush: the worker died","started":"unknown"}`},
		"POST /v1/pools/jobs/commands/build": {lines, 0, `{"worker":"jobs/1#1","name":"progress","codec":"json","data":{"done":1,"total":2}}
{"worker":"jobs/1#1","codec":"text","data":"linked"}
{"worker":"jobs/1#1","outcome":"ok","codec":"text","result":"done"}
`},
		"GET /v1/events?since=0": {"application/json", 0, `{"events":[{"seq":1,"target":"web/1","kind":"state","text":"ready"}],"next":1,"missed":0}`},
	})
}

func ExampleClient_Call() {
	c, done := made()
	defer done()
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	reply, err := c.Call(ctx, "web/2", "flush", ipc.Args("all"))
	fmt.Println(string(reply.Payload), err)

	_, err = c.Call(ctx, "web/3", "flush", ipc.Args("all"))
	var problem *client.Error
	if errors.Is(err, ipc.ErrLost) && errors.As(err, &problem) {
		fmt.Println("lost; had it started?", problem.Started)
	}
	// Output:
	// {"flushed":3} <nil>
	// lost; had it started? unknown
}

func ExampleClient_CallStream() {
	c, done := made()
	defer done()
	reply, err := c.CallStream(context.Background(), "jobs", "build", ipc.Args(), func(p api.Piece) error {
		m, err := client.Payload(p)
		if err != nil || p.Name != "progress" {
			fmt.Printf("piece: %s\n", m.Payload)
			return err
		}
		var at api.Progress
		if err := json.Unmarshal(m.Payload, &at); err != nil {
			return err // cancels the command
		}
		fmt.Printf("%d of %d\n", at.Done, at.Total)
		return nil
	})
	fmt.Println(string(reply.Payload), err)
	// Output:
	// 1 of 2
	// piece: linked
	// done <nil>
}

// Asks again and again, without ever missing an event.
func ExampleClient_Events() {
	c, done := made()
	defer done()
	var since uint64
	for range 1 { // for ever, in a program
		news, err := c.Events(context.Background(), since, 0, "")
		if err != nil {
			fmt.Println(err)
			return
		}
		for _, e := range news.Events {
			fmt.Println(e.Seq, e.Target, e.Kind, e.Text)
		}
		since = news.Next
	}
	// Output:
	// 1 web/1 state ready
}
