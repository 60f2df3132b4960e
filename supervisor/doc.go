// Package supervisor runs pools of worker processes, each on its own
// socketpair, and keeps them as the operator wants them.
//
// The common case is a [Config] with one [Pool]:
//
//	s, err := supervisor.New(supervisor.Config{
//		Pools: []supervisor.Pool{{Name: "web", Command: []string{"./server"}, Workers: 4}},
//	})
//	if err != nil { … }
//	err = s.Run(ctx) // until ctx ends, then stops every worker and returns
//
// While Run is at work any goroutine may ask for [Supervisor.Status], send a
// command with [Supervisor.Call], or change what is wanted with
// [Supervisor.Start], [Supervisor.Stop] and [Supervisor.Restart].
//
// Promises:
//
//   - A slot never has two live workers, and a late word from a dead one
//     changes nothing: whatever comes from a process carries its generation.
//   - A stop always ends: DRAIN, then a signal, then SIGKILL to the whole
//     process group, each with a deadline on the monotonic clock.
//   - Every accepted command ends in exactly one outcome.
//   - Status answers from memory, even while everything else is stuck.
//   - Another program can take this one's place, under the same pid, and no worker
//     notices: [Supervisor.Upgrade], where the main function is [Main] (Linux).
//   - Workers die with the supervisor (Linux: PR_SET_PDEATHSIG; elsewhere a
//     worker that uses package worker exits on EOF).
package supervisor
