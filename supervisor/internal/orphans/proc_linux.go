package orphans

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"time"
	"unicode"

	"golang.org/x/sys/unix"
)

// proc is one process as /proc/PID/stat shows it (proc_pid_stat(5)).
type proc struct {
	pid     int
	name    string
	state   byte
	parent  int
	group   int
	session int
	threads int
	start   uint64 // in clock ticks since boot
	// code and stack are where those begin. Until an execve(2) is complete code
	// is 0.
	code, stack uint64
}

// ended: it waits to be reaped. A process whose first thread has ended while
// others run shows as a zombie too, but lives.
func (p proc) ended() bool {
	return p.state == 'X' || p.state == 'Z' && p.threads <= 1
}

// readStat reads what is known of pid.
func readStat(pid int) (proc, error) {
	var buf [1024]byte
	b, err := readShort("/proc/"+strconv.Itoa(pid)+"/stat", buf[:])
	if err != nil {
		return proc{}, err
	}
	return parseStat(b)
}

// readShort reads a file that fits into buf by one read, as those of /proc are
// made up at the first.
func readShort(path string, buf []byte) ([]byte, error) {
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: path, Err: err}
	}
	defer unix.Close(fd)
	for {
		n, err := unix.Read(fd, buf)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return nil, &os.PathError{Op: "read", Path: path, Err: err}
		}
		return buf[:n], nil
	}
}

// Fields of stat as proc_pid_stat(5) numbers them, less the three that make the
// first after the name the 0th.
const (
	statState   = 0
	statParent  = 1
	statGroup   = 2
	statSession = 3
	statThreads = 17
	statStart   = 19
	statCode    = 23
	statStack   = 25
)

// errReaped is of a process that was reaped while it was looked at. What stat
// says of it then is made up.
var errReaped = errors.New("orphans: it has been reaped")

// parseStat reads a line of stat. The name, in parentheses, is the process's
// to choose and may hold spaces and parentheses itself.
func parseStat(b []byte) (proc, error) {
	from, to := bytes.IndexByte(b, '('), bytes.LastIndexByte(b, ')')
	if from < 1 || to < from {
		return proc{}, fmt.Errorf("orphans: no name in stat: %.80q", b)
	}
	fields := bytes.Fields(b[to+1:])
	if len(fields) <= statStack || len(fields[statState]) != 1 {
		return proc{}, fmt.Errorf("orphans: too few fields in stat: %.80q", b)
	}
	p := proc{name: printable(b[from+1 : to]), state: fields[statState][0]}
	var faults [8]error
	p.pid, faults[0] = strconv.Atoi(string(bytes.TrimSpace(b[:from])))
	p.parent, faults[1] = strconv.Atoi(string(fields[statParent]))
	p.group, faults[2] = strconv.Atoi(string(fields[statGroup]))
	p.session, faults[3] = strconv.Atoi(string(fields[statSession]))
	p.threads, faults[4] = strconv.Atoi(string(fields[statThreads]))
	p.start, faults[5] = strconv.ParseUint(string(fields[statStart]), 10, 64)
	p.code, faults[6] = strconv.ParseUint(string(fields[statCode]), 10, 64)
	p.stack, faults[7] = strconv.ParseUint(string(fields[statStack]), 10, 64)
	if p.group < 0 || p.session < 0 {
		return proc{}, errReaped
	}
	return p, errors.Join(faults[:]...)
}

// pids are all processes. One that lives throughout is always among them,
// which can't be said of /proc/PID/task/TID/children (see proc(5)): that may
// leave out a child while another exits.
func pids() ([]int, error) {
	dir, err := os.Open("/proc")
	if err != nil {
		return nil, err
	}
	defer dir.Close()
	names, err := dir.Readdirnames(-1)
	if err != nil {
		return nil, err
	}
	all := make([]int, 0, len(names))
	for _, name := range names {
		if pid, err := strconv.Atoi(name); err == nil {
			all = append(all, pid)
		}
	}
	return all, nil
}

// claimed is what a process's environment says of where it came from.
type claimed struct {
	worker     string
	generation uint64
	beside     uint64 // as in Origin
}

func (o Origin) claimed() claimed { return claimed{o.Worker, o.Generation, o.Beside} }

// maxExec bounds how long an execve(2) is waited for.
const maxExec = 100 * time.Millisecond

// readClaim looks for run, and the worker beside it, in the environment that
// p was started with. It finds none where the process has written over that
// (setproctitle), has become another user's and this program lacks
// CAP_SYS_PTRACE, or has ended.
//
// While a process is in execve(2) its environment shows as empty. It is truly
// so if no such thing was under way before, and the stack, which has another
// place in each image, is the same after.
func readClaim(p proc, run string) (c claimed, ok bool) {
	path := "/proc/" + strconv.Itoa(p.pid) + "/environ"
	for end := time.Now().Add(maxExec); ; time.Sleep(time.Millisecond) {
		f, err := os.Open(path)
		if err != nil {
			return c, false
		}
		c, ok, empty := parseEnviron(f, run)
		f.Close()
		if !empty {
			return c, ok
		}
		now, err := readStat(p.pid)
		settled := p.code != 0 && now.code != 0 && now.stack == p.stack
		if err != nil || now.start != p.start || now.ended() || settled || time.Now().After(end) {
			return c, false
		}
		p = now
	}
}

// maxEnviron bounds what is read of an environment, in bytes: more than
// execve(2) takes.
const maxEnviron = 8 << 20

// parseEnviron reads entries that each end in NUL, passing over long ones.
func parseEnviron(r io.Reader, run string) (c claimed, ok, empty bool) {
	empty = true
	in := bufio.NewReaderSize(io.LimitReader(r, maxEnviron), 4096)
	for {
		entry, err := in.ReadSlice(0)
		for err == bufio.ErrBufferFull {
			entry = nil
			_, err = in.ReadSlice(0)
		}
		if err != nil {
			return c, ok, empty
		}
		empty = false
		key, value, _ := bytes.Cut(bytes.TrimSuffix(entry, []byte{0}), []byte{'='})
		switch string(key) {
		case runKey:
			mark, beside, some := strings.Cut(string(value), besideSep)
			ok = mark == run
			if c.beside = 0; ok && some {
				c.beside, _ = strconv.ParseUint(beside, 10, 64)
			}
		case "BROOD_WORKER":
			c.worker = string(value)
		case "BROOD_GENERATION":
			c.generation, _ = strconv.ParseUint(string(value), 10, 64)
		}
	}
}

// readCgroup is the cgroup v2 of pid, which it keeps as a zombie (cgroups(7)).
// Empty: there is none.
func readCgroup(pid int) string {
	b, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/cgroup")
	if err != nil {
		return ""
	}
	for line := range strings.Lines(string(b)) {
		if path, ok := strings.CutPrefix(line, "0::"); ok {
			return strings.TrimSuffix(strings.TrimSuffix(path, "\n"), " (deleted)")
		}
	}
	return ""
}

// readCmdline is the command line of pid for people to read.
func readCmdline(pid int) string {
	var buf [256]byte
	b, err := readShort("/proc/"+strconv.Itoa(pid)+"/cmdline", buf[:])
	if err != nil {
		return ""
	}
	return printable(bytes.ReplaceAll(bytes.TrimRight(b, "\x00"), []byte{0}, []byte{' '}))
}

// printable makes fit for a log what a process has chosen itself.
func printable(b []byte) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return unicode.ReplacementChar
	}, string(b))
}
