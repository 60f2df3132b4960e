package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"example.com/brood/ipc"
	"example.com/brood/worker"
)

func workerCommand() *cobra.Command {
	var on, stream []string
	b := &bridge{}
	cmd := &cobra.Command{
		Use:   "worker [--on NAME=PROGRAM]… [-- CMD ARGS…]",
		Short: "Be a worker whose commands are programs and scripts",
		Long: `Worker makes a worker of a program that does not speak the protocol: it runs the
program, passes signals on to it and its exit code back, and answers commands by
running a program for each. brood run starts it:

  brood run -n 2 -- brood worker --on flush=./flush.sh -- ./server

PROGRAM is a line for sh. The words of the command are added to it as arguments; a
payload that is no list of words is its standard input. What it prints is the answer;
if it fails, what it prints on standard error says why.`,
		Example: "  brood worker --on flush=./flush.sh --on-stream tail='tail -n 100 -f log' -- ./server",
		RunE: func(cmd *cobra.Command, args []string) error {
			for flag, specs := range map[string][]string{"--on": on, "--on-stream": stream} {
				for _, spec := range specs {
					name, line, ok := strings.Cut(spec, "=")
					if !ok || !ipc.ValidName(name) || strings.TrimSpace(line) == "" {
						return usagef("%s %s: write NAME=PROGRAM, such as flush=./flush.sh", flag, spec)
					}
					b.programs = append(b.programs, program{name: name, line: line, stream: flag == "--on-stream"})
				}
			}
			if b.parallel < 1 {
				return usagef("--parallel %d: at least 1", b.parallel)
			}
			slices.SortFunc(b.programs, func(a, b program) int { return strings.Compare(a.name, b.name) })
			for i, p := range b.programs {
				if i > 0 && p.name == b.programs[i-1].name {
					return usagef("command %s has two programs", p.name)
				}
			}
			b.command = args
			code, err := b.run()
			if err == nil && code != 0 {
				err = &coded{code, nil}
			}
			return err
		},
	}
	cmd.Flags().StringArrayVar(&on, "on", nil, "NAME=PROGRAM: run PROGRAM to answer the command NAME")
	cmd.Flags().StringArrayVar(&stream, "on-stream", nil, "NAME=PROGRAM: the same, and each line that it prints is sent at once")
	cmd.Flags().StringVar(&b.ready, "ready", "", "a program that is run until it succeeds: then the worker is ready (default: at once)")
	cmd.Flags().IntVar(&b.parallel, "parallel", 16, "commands at work at once; more are refused as overloaded")
	return cmd
}

// bridge is a program, and a worker beside it that answers for it.
type bridge struct {
	programs []program
	command  []string // the program; none: a worker that has commands only
	ready    string
	parallel int

	child *exec.Cmd     // nil: none
	ended chan struct{} // closed when child is reaped
	calls calls
}

const (
	readyEvery = 200 * time.Millisecond // between two tries of --ready
	childGrace = 2 * time.Second        // from SIGTERM to SIGKILL when the supervisor is gone
)

// run returns the exit code.
func (b *bridge) run() (int, error) {
	b.calls.begin()
	defer b.calls.end()
	w := worker.Worker{MaxInflight: b.parallel}
	for _, p := range b.programs {
		w.Handle(p.name, p.line, b.calls.handler(p))
	}
	switch err := w.Start(); {
	case errors.Is(err, worker.ErrNotSupervised):
		return 0, errors.New("`brood worker` is what brood runs: `brood run -- brood worker …`")
	case err != nil:
		return 0, err
	}
	signals := make(chan os.Signal, 16)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP, syscall.SIGQUIT, syscall.SIGUSR1, syscall.SIGUSR2, syscall.SIGCONT)
	defer signal.Stop(signals)
	if err := b.start(); err != nil {
		return 0, err
	}
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	readied := make(chan struct{})
	go func() {
		defer close(readied)
		b.awaitReady(ctx, &w)
	}()
	served := make(chan error, 1)
	go func() { served <- w.Wait(ctx) }()
	code, err := b.oversee(&w, signals, served, stop)
	stop()
	<-readied
	return code, err
}

func (b *bridge) start() error {
	b.ended = make(chan struct{})
	if len(b.command) == 0 {
		return nil // ended is never closed
	}
	child := exec.Command(b.command[0], b.command[1:]...)
	child.Stdin, child.Stdout, child.Stderr = os.Stdin, os.Stdout, os.Stderr
	wait, err := startBound(child) // in this process's group, which the supervisor ends as one
	if err != nil {
		return fmt.Errorf("the program does not start: %w", err)
	}
	b.child = child
	go func() {
		_ = wait() // ProcessState has it
		close(b.ended)
	}()
	return nil
}

func (b *bridge) awaitReady(ctx context.Context, w *worker.Worker) {
	for b.ready != "" && ctx.Err() == nil {
		try := exec.CommandContext(ctx, "/bin/sh", "-c", b.ready)
		try.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
		try.Cancel = func() error { return syscall.Kill(-try.Process.Pid, syscall.SIGKILL) }
		try.WaitDelay = time.Second
		if wait, err := startBound(try); err == nil && wait() == nil {
			break
		}
		select {
		case <-ctx.Done():
		case <-time.After(readyEvery):
		}
	}
	if ctx.Err() == nil {
		w.Ready() // it fails if the connection has ended, which oversee is told of
	}
}

// oversee is what happens until both the program and the worker have ended.
func (b *bridge) oversee(w *worker.Worker, signals <-chan os.Signal, served <-chan error, stop func()) (int, error) {
	for {
		select {
		case s := <-signals:
			switch {
			case b.child != nil:
				b.child.Process.Signal(s) // it is for the program to say what it means
			case s == syscall.SIGTERM || s == syscall.SIGINT:
				stop() // a drain
			}
		case <-b.ended:
			return shellStatus(b.child.ProcessState), nil
		case err := <-served:
			code := b.endChild()
			if errors.Is(err, worker.ErrSupervisorGone) || errors.Is(err, worker.ErrDrainTimeout) {
				return code, err
			}
			return code, nil
		}
	}
}

// endChild ends the program, as nothing is asked of it any more. That it dies of
// the signal is what was wanted.
func (b *bridge) endChild() int {
	if b.child == nil {
		return 0
	}
	b.child.Process.Signal(syscall.SIGTERM)
	select {
	case <-b.ended:
	case <-time.After(childGrace):
		b.child.Process.Kill()
		<-b.ended
	}
	status, _ := b.child.ProcessState.Sys().(syscall.WaitStatus)
	if status.Signaled() {
		return 0
	}
	return b.child.ProcessState.ExitCode()
}

// shellStatus is a shell's number for how a process ended.
func shellStatus(s *os.ProcessState) int {
	if status, ok := s.Sys().(syscall.WaitStatus); ok && status.Signaled() {
		return 128 + int(status.Signal())
	}
	return s.ExitCode()
}
