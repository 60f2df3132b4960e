package main

import "net/rpc"

// net/rpc with its gob codec over a socketpair.

// Echo is the service of the net/rpc child.
type Echo struct{}

// Echo answers with what it was sent.
func (Echo) Echo(in []byte, out *[]byte) error {
	*out = in
	return nil
}

func openNetRPC() (link, error) {
	conn, cmd, err := connChild("netrpc")
	if err != nil {
		return nil, err
	}
	client := rpc.NewClient(conn)
	return callers{pid: cmd.Process.Pid, call: func(payload, last []byte) ([]byte, error) {
		out := last[:0] // gob fills it if it is large enough
		err := client.Call("Echo.Echo", payload, &out)
		return out, err
	}}, nil
}

func netRPCChild([]string) error {
	conn, err := childConn()
	if err != nil {
		return err
	}
	server := rpc.NewServer()
	if err := server.Register(Echo{}); err != nil {
		return err
	}
	server.ServeConn(conn)
	return nil
}
