package orphans

import (
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"os"
	"os/signal"
	"path"
	"strconv"
	"sync"
	"sync/atomic"
	"unsafe"

	"github.com/hashicorp/go-hclog"
	"golang.org/x/sys/unix"
)

// Orphans adopts, reaps and finds. Its methods may be called from any
// goroutine, and on nil they do nothing.
type Orphans struct {
	leaders    *Leaders
	everything bool // Options.All
	log        hclog.Logger
	run        string // value of BROOD_RUN: of this one and no other
	self       int
	session    int
	blind      error          // why /proc can't be used; nil: it can
	inherited  map[int]uint64 // start by pid of the children there were before: from the program that this one replaced (execve(2))

	kids shared[[]child]
	all  shared[table]

	sigchld chan os.Signal // has room for one: another look is due
	quit    chan struct{}
	done    chan struct{}

	beside atomic.Uint64 // the last number that Beside has given out

	mu       sync.Mutex // not held across a wait or a look at /proc
	families map[claimed]*Family
	cgroups  map[string]*Family
	claims   map[int]claim  // by number of a process group or session
	known    map[int]kin    // by pid
	strays   map[int]uint64 // start by pid of those that were told of
	// deaths counts what was reaped, strangers those of it that were of no
	// family.
	deaths, strangers int
}

// Start makes this program the parent of what its workers leave behind
// (PR_SET_CHILD_SUBREAPER, prctl(2)) and begins to reap that. Close ends it.
// The caller must be the only one in the program to wait for any child
// (wait4(-1)).
func Start(opt Options) (*Orphans, error) {
	o := &Orphans{
		leaders: opt.Leaders, everything: opt.All, log: opt.Log,
		self: os.Getpid(), inherited: map[int]uint64{},
		sigchld: make(chan os.Signal, 1), quit: make(chan struct{}), done: make(chan struct{}),
		families: map[claimed]*Family{}, cgroups: map[string]*Family{},
		claims: map[int]claim{}, known: map[int]kin{}, strays: map[int]uint64{},
	}
	if o.log == nil {
		o.log = hclog.NewNullLogger()
	}
	if opt.Before != nil {
		o.adoptSaved(opt.Before)
	} else {
		var mark [8]byte
		_, _ = rand.Read(mark[:]) // never fails
		o.run = hex.EncodeToString(mark[:])
	}
	var err error
	if o.session, err = unix.Getsid(0); err != nil {
		return nil, fmt.Errorf("orphans: %w", os.NewSyscallError("getsid", err))
	}
	// The first use of a pidfd by package os forks a child to try it out; that
	// is over before anything is reaped.
	if p, err := os.FindProcess(o.self); err == nil {
		_ = p.Release()
	}
	if o.blind = ownProc(o.self); o.blind != nil {
		if !o.everything {
			return nil, o.blind
		}
		o.log.Warn("what workers leave behind is reaped but not found", "error", o.blind)
	} else if opt.Before == nil {
		if err := o.inherit(); err != nil {
			return nil, fmt.Errorf("orphans: %w", err)
		}
	}
	if err := reaper.acquire(opt.Before); err != nil {
		return nil, fmt.Errorf("orphans: what workers leave behind goes to init: %w", err)
	}
	signal.Notify(o.sigchld, unix.SIGCHLD)
	select {
	case o.sigchld <- unix.SIGCHLD: // for those that ended before
	default:
	}
	go o.reapUntilClosed()
	return o, nil
}

// ownProc checks that /proc is mounted and of this program's pid namespace: in
// another its numbers are those of strangers.
func ownProc(self int) error {
	name, err := os.Readlink("/proc/self")
	if err != nil {
		return fmt.Errorf("orphans: /proc is needed: %w", err)
	}
	if name != strconv.Itoa(self) {
		return fmt.Errorf("orphans: /proc is of another pid namespace: this process is %d and shows there as %s; mount a proc of its own", self, name)
	}
	return nil
}

// inherit puts down the children there are.
func (o *Orphans) inherit() error {
	kids, err := o.children()
	for _, c := range kids {
		o.inherited[c.pid] = c.start
	}
	return err
}

// Env is the variable that each worker must have in its environment, for what
// it leaves behind to be recognized.
func (o *Orphans) Env() string {
	if o == nil {
		return runKey + "="
	}
	return runKey + "=" + o.run
}

// Beside is the variable, in place of Env, for a process that is started beside a
// worker, and the number for its Origin: so what it leaves behind is told from
// what the worker does.
func (o *Orphans) Beside() (env string, n uint64) {
	if o == nil {
		return runKey + "=", 0
	}
	n = o.beside.Add(1)
	return o.Env() + besideSep + strconv.FormatUint(n, 10), n
}

// Close ends the reaping and waits for it. What was adopted and lives stays a
// child of this program.
func (o *Orphans) Close() {
	if o == nil {
		return
	}
	signal.Stop(o.sigchld)
	close(o.quit)
	<-o.done
	reaper.release()
}

// parent of a cgroup's path; empty for the root.
func parent(p string) string {
	if p == "/" || p == "." {
		return ""
	}
	return path.Dir(p)
}

// subreaper counts who needs the attribute, of which a program has one.
type subreaper struct {
	mu     sync.Mutex
	users  int
	before bool // it was one without them
}

var reaper subreaper

// acquire makes this program one. What it was before may be handed over, as the
// attribute stays with an execve(2).
func (r *subreaper) acquire(saved *Saved) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.users == 0 {
		before, err := isSubreaper()
		if err == nil {
			err = os.NewSyscallError("prctl", unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0))
		}
		if err != nil {
			return err
		}
		r.before = before
		if saved != nil {
			r.before = saved.Subreaper
		}
	}
	r.users++
	return nil
}

func (r *subreaper) release() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.users--
	if r.users == 0 && !r.before {
		_ = unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 0, 0, 0, 0)
	}
}

func (r *subreaper) was() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.before
}

func isSubreaper() (bool, error) {
	var is int32
	_, _, errno := unix.RawSyscall(unix.SYS_PRCTL, unix.PR_GET_CHILD_SUBREAPER, uintptr(unsafe.Pointer(&is)), 0)
	if errno != 0 {
		return false, os.NewSyscallError("prctl", errno)
	}
	return is != 0, nil
}
