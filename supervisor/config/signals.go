package config

import (
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// stopSignal ends a worker, dumpSignal has it tell where it is; a command may
// send any.
func stopSignal() kind[signal] {
	return signalBut("TERM", map[signal]string{
		syscall.SIGSTOP: "STOP freezes a worker and does not end it; write TERM or another one that does",
	})
}

func dumpSignal() kind[signal] {
	return signalBut("QUIT", map[signal]string{
		syscall.SIGSTOP: "STOP freezes a worker, which then tells nothing; write QUIT or another one that it can answer",
		syscall.SIGKILL: "KILL ends a worker before it can tell anything; write QUIT or another one that it can answer",
	})
}

func anySignal() kind[signal] { return signalBut("USR1", nil) }

// signalBut is a signal by its name, with or without SIG and in any case, but
// for those that will not do, each with the reason. want is an example.
func signalBut(want string, not map[signal]string) kind[signal] {
	read := func(n node) (signal, bool) {
		text, ok := n.text("the name of a signal such as " + want)
		if !ok {
			return 0, false
		}
		if number, err := strconv.Atoi(text); err == nil {
			n.bad("must be the name of a signal, got %d%s", number, didYouMean(shortSignal(signal(number)), signalNames()))
			return 0, false
		}
		short := strings.TrimPrefix(strings.ToUpper(text), "SIG")
		s := unix.SignalNum("SIG" + short)
		switch {
		case s == 0:
			n.bad("there is no signal %q%s", shorten(text), didYouMean(short, signalNames()))
		case not[s] != "":
			n.bad("%s", not[s])
		default:
			return s, true
		}
		return 0, false
	}
	return kind[signal]{read: read, schema: func() object { return object{"type": "string", "pattern": `^([Ss][Ii][Gg])?[A-Za-z][A-Za-z0-9]*$`} }}
}

func shortSignal(s signal) string { return strings.TrimPrefix(unix.SignalName(s), "SIG") }

// signalNames are the system's, TERM and its like first: of two that are as near
// the first one is proposed.
func signalNames() []string {
	names := []string{"TERM", "INT", "QUIT", "HUP", "USR1", "USR2", "KILL"}
	for s := signal(1); s < 65; s++ {
		if name := shortSignal(s); name != "" {
			names = append(names, name)
		}
	}
	return names
}
