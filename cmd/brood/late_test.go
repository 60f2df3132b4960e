package main

import (
	"fmt"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestLateAnswer: the supervisor gives up when --wait or --timeout says so, and what
// it says then is printed, however short that was and however late it comes.
func TestLateAnswer(t *testing.T) {
	const limit, late = 150 * time.Millisecond, 400 * time.Millisecond
	socket := filepath.Join(socketDir(t), "control.sock")
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	srv := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		given, err := time.ParseDuration(r.FormValue("wait") + r.FormValue("timeout"))
		if err != nil || given > limit || given < limit/2 {
			t.Errorf("%s: the supervisor is given %v, %v", r.URL, given, err)
		}
		time.Sleep(given + late) // as on a busy machine
		w.Header().Set("Content-Type", "application/problem+json")
		w.WriteHeader(http.StatusGatewayTimeout)
		fmt.Fprint(w, `{"code":"timeout","detail":"this is how far it is"}`)
	})}
	go srv.Serve(l)
	defer srv.Close()
	for _, line := range []string{
		"stop --wait %v web", "scale --wait %v web 3", "reload --wait %v", "shutdown --wait %v", "upgrade --wait %v",
		"ping --timeout %v web/1", "send --timeout %v web/1 flush", "send --timeout %v 'web/*' flush",
	} {
		r := shell(t, socket, "brood "+fmt.Sprintf(line, limit))
		if r.code != exitTimeout {
			t.Errorf("%s: %v", line, r)
		}
		wantIn(t, line, r.stderr, "this is how far it is")
	}
}

// TestOrderWithoutAnswer: a supervisor that is held up is not waited for for ever,
// not with --wait 0 either, and whoever gives up is told that the order stands.
func TestOrderWithoutAnswer(t *testing.T) {
	s := serve(t, "-n", "1", "--name", "web", "--log-level", "error", "--", "echo-worker")
	s.cmd.Process.Signal(syscall.SIGSTOP)
	defer s.cmd.Process.Signal(syscall.SIGCONT)
	r := shell(t, s.socket, "brood stop --wait 0 web & brood shutdown --wait 100ms; echo $?; wait $!; echo $?")
	if r.stdout != "7\n7\n" || strings.Count(r.stderr, " in time; the order may still be carried out") != 2 {
		t.Error(r)
	}
	s.cmd.Process.Signal(syscall.SIGCONT)
	select {
	case <-s.ended: // it is carried out
	case <-time.After(60 * time.Second):
		t.Error("the supervisor has gone on and is still there")
	}
}
