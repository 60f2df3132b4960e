// Package ipc is the wire between a supervisor and a worker: frames over a
// stream socketpair, and calls over frames, in both directions at once. It
// knows nothing of processes.
//
// A [Pair] makes the two ends. A [Conn] is one end at work:
//
//	conn, err := ipc.NewConn(end, ipc.Config{Role: ipc.Supervisor, Hello: …})
//	reply, err := conn.Call(ctx, "flush", ipc.Text("all"))
//
// and at the other end, or at this one too, a [Handler] answers:
//
//	conn, err := ipc.NewConn(end, ipc.Config{Role: ipc.Worker, Handler: func(ctx context.Context, call *ipc.Call) (ipc.Message, error) {
//		return ipc.Text("flushed " + string(call.Payload)), nil
//	}})
//
// The answer may come in pieces, [Conn.CallStream] and [Call.Send], and open
// files travel with messages ([Message].Files).
//
// A call costs no allocation where it matters: [Conn.CallInto] uses the memory
// of the last answer for the next one, handlers get a payload that is valid
// until they return, and those of [Config].Inline are run by the reader itself,
// without a goroutine.
//
// A supervisor's end can be carried over to another program, in the middle of
// whatever goes on: [Conn.Pause], [Conn.State] and [Continue].
//
// Promises:
//
//   - No lock is held across a read or a write, and the reader never waits for
//     a write. Two ends that both only write do not deadlock.
//   - Nothing is allocated on the peer's word alone: lengths are checked first,
//     and what is queued, out or for a slow consumer, is bounded.
//   - Descriptors that nobody takes are closed.
//   - A frame that breaks a rule ends the connection with a [*ProtocolError],
//     which wraps [ErrProtocol] and names the rule and the byte.
//   - Every call ends in exactly one outcome, at the latest when the
//     connection does.
//
// docs/protocol.md is the specification of the wire.
package ipc
