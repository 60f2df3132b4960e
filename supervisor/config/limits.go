package config

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"example.com/brood/supervisor"
)

// The resources of setrlimit(2), under the names that ulimit and limits.conf(5)
// have for them, and each counted in its own unit.

const unlimited = math.MaxUint64 // what a supervisor.Limit means by it

func limitKeys() []key[limits] {
	return []key[limits]{
		limitRow("nofile", counted(0), "Open file descriptors."),
		limitRow("nproc", counted(0), "Processes and threads of the user, in this and all other programs; root is not bound."),
		limitRow("core", sized, "The size of a core dump. 0: none is written."),
		limitRow("cpu", ticks(time.Second, "60s"), "Time on a processor, in whole seconds; then SIGXCPU, at the hard limit SIGKILL."),
		limitRow("fsize", sized, "The size of a file that is written; more of it is SIGXFSZ."),
		limitRow("data", sized, "Initialized and other private memory, without the stack."),
		limitRow("stack", sized, "The stack of the main thread."),
		limitRow("as", sized, "The address space. Programs reserve far more of it than they use."),
		limitRow("rss", sized, "Resident memory. Linux takes no notice of it; see cgroup.memory."),
		limitRow("memlock", sized, "Memory that is locked against being swapped out."),
		limitRow("locks", counted(0), "Locks on files. Linux takes no notice of it."),
		limitRow("msgqueue", sized, "POSIX message queues of the user."),
		limitRow("sigpending", counted(0), "Signals that wait for the user's processes."),
		limitRow("nice", counted(40), "How far nice may be lowered: 20 minus the lowest value, so 40 for -20."),
		limitRow("rtprio", counted(99), "The highest real-time priority."),
		limitRow("rttime", ticks(time.Microsecond, "200ms"), "Real-time work without a call that blocks; then SIGXCPU, at the hard limit SIGKILL."),
	}
}

func limitRow(name string, a amount, help string) key[limits] {
	return row(name, "", limitOf(a), func(l *limits, v supervisor.Limit) {
		if *l == nil {
			*l = limits{}
		}
		(*l)[name] = v
	}, help)
}

// amount is how much of a resource there may be.
type amount struct {
	want    string // an example
	pattern string // of what parse takes
	parse   func(text, want string) (n uint64, problem string)
}

// counted is a number. Unless most is 0 there is a largest one.
func counted(most uint64) amount {
	return amount{want: "65536", pattern: `[0-9]+`, parse: func(text, want string) (uint64, string) {
		v, err := strconv.ParseUint(text, 10, 63)
		switch {
		case isNumber(text) && err != nil:
			return 0, fmt.Sprintf("%s is too large; write unlimited", shorten(text))
		case err != nil:
			return 0, fmt.Sprintf("must be a number such as %s, unlimited, or two of them with / between, soft and hard, got %q", want, shorten(text))
		case most > 0 && v > most:
			return 0, fmt.Sprintf("must be at most %d, got %d", most, v)
		}
		return v, ""
	}}
}

// sized is a number of bytes.
var sized = amount{want: "1GiB", pattern: `(0|` + oneSize + `)`, parse: func(text, want string) (uint64, string) {
	n, problem := parseSize(text, want)
	return uint64(n), problem
}}

// ticks is a time that the kernel counts in units. want is an example.
func ticks(unit time.Duration, want string) amount {
	return amount{want: want, pattern: oneDuration, parse: func(text, want string) (uint64, string) {
		d, problem := parseDuration(text, want)
		switch {
		case problem != "":
			return 0, problem
		case d == 0 || d%unit != 0:
			return 0, fmt.Sprintf("is counted in steps of %v, got %s", unit, text)
		}
		return uint64(d / unit), ""
	}}
}

// limitOf is an amount, unlimited, or two of these with a slash between: the
// soft limit and the hard one.
func limitOf(a amount) kind[supervisor.Limit] {
	parse := func(text string) (uint64, string) {
		if text == "unlimited" {
			return unlimited, ""
		}
		return a.parse(text, a.want)
	}
	read := func(n node) (l supervisor.Limit, ok bool) {
		text, ok := n.text("a limit such as " + a.want)
		if !ok {
			return l, false
		}
		soft, hard, two := strings.Cut(text, "/")
		if !two {
			hard = soft
		}
		var problem string
		if l.Soft, problem = parse(soft); problem == "" {
			l.Hard, problem = parse(hard)
		}
		if problem == "" && l.Soft > l.Hard {
			problem = fmt.Sprintf("the soft limit (%s) is above the hard one (%s)", soft, hard)
		}
		if problem != "" {
			n.bad("%s", problem)
		}
		return l, problem == ""
	}
	one := `(` + a.pattern + `|unlimited)`
	return kind[supervisor.Limit]{read: read, schema: func() object {
		return object{
			"type": []string{"string", "integer"}, "pattern": `^` + one + `(/` + one + `)?$`,
		}
	}}
}
