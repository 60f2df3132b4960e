package process

import (
	"errors"
	"fmt"
	"log"
	"maps"
	"os"
	"os/signal"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"example.com/brood/supervisor/handover"
	"example.com/brood/supervisor/internal/dawn"
	"example.com/brood/supervisor/internal/watch"
)

func init() {
	programs["generations"] = func() {
		if os.Getenv("TEST_DEAF") != "" {
			deaf()
		}
		code := Main(generations)
		if dawn.Came && last != nil { // nobody forks any more, and who asks for it is told
			_, err := last.Start(Spec{Command: []string{"/bin/sh", "-c", ":"}})
			fmt.Println("at the end:", err)
		}
		os.Exit(code)
	}
}

// doze is told four signals before it has asked for any.
func doze() {
	os.Unsetenv("TEST_DOZING")
	fmt.Println("dozing")
	c := make(chan os.Signal, 64)
	signal.Notify(c, dawn.Signals...)
	for _, sig := range append([]os.Signal{unix.SIGUSR1}, dawn.Signals...) {
		_ = unix.Kill(os.Getpid(), sig.(unix.Signal))
	}
	for range dawn.Signals {
		<-c
	}
	signal.Stop(c)
}

// deaf lasts until four signals have come, one of which waits.
func deaf() {
	os.Unsetenv("TEST_DEAF")
	c := make(chan os.Signal, 64)
	signal.Notify(c, dawn.Signals...)
	fmt.Println("deaf")
	for range dawn.Signals {
		<-c
	}
	signal.Stop(c)
	awaitPending(unix.SIGUSR1)
}

// last is the spawner of the generation that was told to return.
var last *Spawner

// generation is a program of tests that executes itself, and takes orders from
// its standard input, a line each.
type generation struct {
	mu      sync.Mutex // for the children in state
	state   handed
	in      *handover.In
	set     *watch.Set
	spawner *Spawner
	signals chan os.Signal
}

// handed is what goes from one to the next.
type handed struct {
	Number   int
	Children []int
	FDs      []int
}

func generations() int {
	if os.Getenv("TEST_DOZING") != "" {
		doze()
	}
	in, err := handover.Receive()
	if err != nil {
		return complain(err)
	}
	time.AfterFunc(2*time.Minute, func() { log.Fatal("nobody ends it") })
	g := &generation{in: in}
	if os.Getenv("TEST_NO_SIGNALS") == "" {
		g.signals = Signals(unix.SIGUSR1, unix.SIGUSR2)
	}
	if _, err := in.Get("state", &g.state); err != nil {
		return complain(err)
	}
	g.state.Number++
	if os.Getenv("TEST_SHARED_TABLE") != "" {
		unshare = func(int) error { return unix.EPERM }
	}
	g.spawner = NewSpawner(nil)
	if g.set, err = watch.New(); err != nil {
		return complain(err)
	}
	go g.set.Run()
	children := g.state.Children
	g.state.Children = nil
	for _, pid := range children {
		p, err := Adopt(pid)
		if err != nil {
			return complain(err)
		}
		g.keep(p)
	}
	fmt.Printf("generation %d of pid %d\n", g.state.Number, os.Getpid())
	for { // a byte at a time: what is read ahead would be lost to the next one
		text, ok := readLine()
		if !ok {
			return 0
		}
		word, rest, _ := strings.Cut(text, " ")
		if word == "return" {
			last = g.spawner
			code, _ := strconv.Atoi(rest)
			return code
		}
		order := orderWords[word]
		if order == nil {
			return complain(fmt.Errorf("no order %q", word))
		}
		if err := order(g, rest); err != nil {
			fmt.Println("failed", err)
		}
	}
}

func complain(err error) int {
	fmt.Println("failed", err)
	return 1
}

func readLine() (string, bool) {
	var text []byte
	for {
		var b [1]byte
		n, err := unix.Read(0, b[:])
		if err == unix.EINTR {
			continue
		}
		if n != 1 {
			return "", false
		}
		if b[0] == '\n' {
			return string(text), true
		}
		text = append(text, b[0])
	}
}

func (g *generation) keep(p *Process) {
	g.mu.Lock()
	g.state.Children = append(g.state.Children, p.PID)
	g.mu.Unlock()
	p.OnExit(g.set, func(_ int, wait func()) { wait() }, func(e Exit) {
		g.mu.Lock()
		g.state.Children = slices.DeleteFunc(g.state.Children, func(pid int) bool { return pid == p.PID })
		g.mu.Unlock()
		fmt.Printf("exit %d %+v\n", p.PID, e)
	})
}

func (g *generation) start(script string, attr Attr) error {
	p, err := g.spawner.Start(Spec{
		Command: []string{"/bin/sh", "-c", script}, Env: os.Environ(),
		Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr, Attr: attr,
	})
	if err != nil {
		return err
	}
	g.keep(p)
	fmt.Println("started", p.PID)
	return nil
}

// exec executes path, by default this program again.
func (g *generation) exec(path string) error {
	g.set.Pause()
	defer g.set.Resume()
	return g.become(path)
}

// become is exec in a pause.
func (g *generation) become(path string) error {
	var out handover.Out
	for _, fd := range g.state.FDs {
		out.FD(fd)
	}
	if err := out.Put("state", g.state); err != nil {
		return err
	}
	if path == "" {
		path = "/proc/self/exe"
	}
	return g.spawner.Exec(path, os.Args, append(os.Environ(), handover.Env+"=77"), &out, asBefore)
}

// asBefore is a last of Exec to which nothing has come.
func asBefore() error { return nil }

var orderWords = map[string]func(g *generation, rest string) error{
	"start": func(g *generation, script string) error { return g.start(script, Attr{}) },
	"shim": func(g *generation, script string) error {
		return g.start(script, Attr{Umask: ptr(uint32(0o27))})
	},
	"exec": func(g *generation, path string) error { return g.exec(path) },
	// zombie executes itself when a child has ended and was not reaped.
	"zombie": func(g *generation, pid string) error {
		g.set.Pause()
		defer g.set.Resume()
		fmt.Println("paused")
		n, err := strconv.Atoi(pid)
		if err == nil {
			err = peek(unix.P_PID, n, 0, nil)
		}
		if err != nil {
			return err
		}
		return g.become("")
	},
	// deaf is followed by one that asks for signals late.
	"deaf": func(g *generation, _ string) error {
		os.Setenv("TEST_DEAF", "1")
		defer os.Unsetenv("TEST_DEAF")
		return g.exec("")
	},
	// dozing is followed by one that asks for signals late in its main function.
	"dozing": func(g *generation, _ string) error {
		os.Setenv("TEST_DOZING", "1")
		defer os.Unsetenv("TEST_DOZING")
		return g.exec("")
	},
	// late is as if signals came while it executes itself.
	"late": func(g *generation, _ string) error {
		_, err := g.spawner.thread.call(nil, func([]int) (int, error) {
			set := setOf(held...)
			_ = unix.PthreadSigmask(unix.SIG_BLOCK, &set, nil)
			pid, tid := unix.Getpid(), unix.Gettid()
			for _, sig := range standIns {
				if err := unix.Tgkill(pid, tid, sig); err != nil {
					return 0, err
				}
			}
			return 0, unix.Tgkill(pid, tid, unix.SIGUSR1)
		})
		if err != nil {
			return err
		}
		return g.exec("")
	},
	// signals waits for four and then sees that there are no more.
	"signals": func(g *generation, _ string) error {
		var all []string
		for range 4 {
			all = append(all, (<-g.signals).String())
		}
		slices.Sort(all)
		if err := unix.Kill(os.Getpid(), unix.SIGUSR2); err != nil {
			return err
		}
		fmt.Println("signals", strings.Join(append(all, (<-g.signals).String()), ", "))
		return nil
	},
	// storm waits for a signal in each generation up to a number.
	"storm": func(g *generation, rest string) error {
		last, err := strconv.Atoi(rest)
		if err != nil {
			return err
		}
		<-g.signals
		if g.state.Number >= last {
			fmt.Println("weathered")
			return nil
		}
		return g.exec("")
	},
	// many makes descriptors and hands them over, with one twice and the standard
	// error.
	"many": func(g *generation, rest string) error {
		n, err := strconv.Atoi(rest)
		if err != nil {
			return err
		}
		g.state.FDs = nil
		for i := range n {
			fd, err := unix.MemfdCreate(strconv.Itoa(i), unix.MFD_CLOEXEC)
			if err != nil {
				return err
			}
			g.state.FDs = append(g.state.FDs, fd)
		}
		g.state.FDs = append(g.state.FDs, g.state.FDs[0], 2)
		return g.exec("")
	},
	// check looks at what was handed over.
	"check": func(g *generation, _ string) error {
		seen := map[int]bool{0: true, 1: true, 2: true}
		for i := range g.state.FDs {
			fd, err := g.in.FD(i)
			if err != nil {
				return err
			}
			want := fmt.Sprintf("/memfd:%d (deleted)", i)
			switch i {
			case len(g.state.FDs) - 2:
				want = "/memfd:0 (deleted)"
			case len(g.state.FDs) - 1:
				if want, err = os.Readlink("/proc/self/fd/2"); err != nil {
					return err
				}
			}
			is, err := os.Readlink(fmt.Sprintf("/proc/self/fd/%d", fd))
			if err != nil || is != want {
				return fmt.Errorf("descriptor %d is %q, %v, want %q", fd, is, err, want)
			}
			flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0)
			if err != nil || flags&unix.FD_CLOEXEC == 0 || seen[fd] {
				return fmt.Errorf("descriptor %d: flags %#x, %v, seen %v", fd, flags, err, seen[fd])
			}
			seen[fd] = true
		}
		closeAll(slices.DeleteFunc(slices.Collect(maps.Keys(seen)), func(fd int) bool { return fd <= 2 }))
		n := len(g.state.FDs)
		g.state.FDs = nil
		if g.spawner.thread.to >= 0 {
			return errors.New("the main thread has a table of its own")
		}
		fmt.Println("checked", n)
		return nil
	},
	// fail tries what must fail.
	"fail": func(g *generation, dir string) error {
		for _, complaint := range failures(g.spawner, dir) {
			fmt.Println("failed", complaint)
		}
		fmt.Println("tried")
		return nil
	},
	"close": func(g *generation, _ string) error {
		g.spawner.Close()
		g.spawner = NewSpawner(nil)
		fmt.Println("closed")
		return nil
	},
}
