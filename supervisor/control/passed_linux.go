package control

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"
	"sync"

	"github.com/hashicorp/go-hclog"
	"golang.org/x/sys/unix"

	"example.com/brood/supervisor/handover"
)

// passedName is what the service manager calls the control socket
// (FileDescriptorName=, systemd.socket(5)).
const passedName = "control"

// firstPassed is the first descriptor that is passed, sd_listen_fds(3).
const firstPassed = 3

// Passed is a control socket that the service manager has opened: its file, with
// owner and mode, is the manager's business. It is neither removed nor put back,
// and no lock is held on it. Who calls is asked of the kernel as on any other.
type Passed struct {
	outlet
	inlet   *inlet
	addr    *net.UnixAddr
	conns   chan net.Conn
	done    chan struct{}
	closing func()
	wg      sync.WaitGroup
}

// TakePassed returns the sockets that were handed to this process under the name
// control, by LISTEN_PID, LISTEN_FDS and LISTEN_FDNAMES. None is no error; one that
// no control socket can be is, and so is one by another name, which nobody would
// serve. Where a single one has no name of its own, it is taken.
//
// The variables stay. It is to be called once, before anything else opens or
// closes descriptors.
func TakePassed(log hclog.Logger) ([]*Passed, error) {
	if os.Getenv("LISTEN_PID") != strconv.Itoa(os.Getpid()) {
		return nil, nil
	}
	n, err := strconv.Atoi(os.Getenv("LISTEN_FDS"))
	if err != nil || n < 0 || n > 1024 {
		return nil, fmt.Errorf("LISTEN_FDS=%s is no number of sockets", os.Getenv("LISTEN_FDS"))
	}
	names := strings.Split(os.Getenv("LISTEN_FDNAMES"), ":")
	files := make([]*os.File, n)
	for i := range files {
		unix.CloseOnExec(firstPassed + i) // all of them, before anything may fail
		files[i] = os.NewFile(uintptr(firstPassed+i), "passed-"+strconv.Itoa(i))
	}
	var all []*Passed
	var faults []error
	for i, f := range files {
		name := ""
		if i < len(names) {
			name = names[i]
		}
		if ours := name == passedName || n == 1 && isUnnamed(name); !ours {
			faults = append(faults, fmt.Errorf("socket %q was passed, and brood takes one called control: write FileDescriptorName=control into its unit", name))
			f.Close()
			continue
		}
		p, err := newPassed(f, log)
		if err != nil {
			faults = append(faults, fmt.Errorf("the socket passed as descriptor %d: %w", firstPassed+i, err))
			continue
		}
		all = append(all, p)
	}
	if len(faults) > 0 {
		for _, p := range all {
			p.Close()
		}
		return nil, errors.Join(faults...)
	}
	return all, nil
}

// isUnnamed: without FileDescriptorName= a socket has the name of its unit, and
// systemd-socket-activate(1) says unknown.
func isUnnamed(name string) bool {
	return name == "" || name == "unknown" || strings.HasSuffix(name, ".socket")
}

// newPassed takes f over.
func newPassed(f *os.File, log hclog.Logger) (*Passed, error) {
	defer f.Close() // net.FileListener has its own copy
	fd := int(f.Fd())
	for _, want := range []struct {
		option, value int
		text          string
	}{
		{unix.SO_DOMAIN, unix.AF_UNIX, "it is no Unix socket: write ListenStream=/run/brood/control.sock"},
		{unix.SO_TYPE, unix.SOCK_STREAM, "it is no stream: write ListenStream=, not ListenDatagram= or ListenSequentialPacket="},
		{unix.SO_ACCEPTCONN, 1, "it does not listen: leave Accept= out of its unit, or write Accept=no"},
	} {
		got, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, want.option)
		if err != nil {
			return nil, fmt.Errorf("it is no socket: %w", os.NewSyscallError("getsockopt", err))
		}
		if got != want.value {
			return nil, errors.New(want.text)
		}
	}
	ln, err := net.FileListener(f)
	if err != nil {
		return nil, err
	}
	return startPassed(ln.(*net.UnixListener), log), nil
}

func startPassed(ul *net.UnixListener, log hclog.Logger) *Passed {
	ul.SetUnlinkOnClose(false) // the file is the manager's
	if log == nil {
		log = hclog.NewNullLogger()
	}
	p := &Passed{inlet: newInlet(ul), addr: ul.Addr().(*net.UnixAddr), conns: make(chan net.Conn), done: make(chan struct{})}
	p.closing = sync.OnceFunc(func() {
		close(p.done)
		p.inlet.stop()
		p.wg.Wait()
	})
	p.wg.Go(func() { p.inlet.run(&p.outlet, p.conns, p.done, log) })
	return p
}

var _ exporter = (*Passed)(nil)

func (p *Passed) export(out *handover.Out) (SavedListener, error) {
	fd, err := p.inlet.fd()
	return SavedListener{Path: p.addr.Name, Passed: true, Socket: out.FD(fd)}, err
}

// adoptPassed takes over a socket that was passed to the program before.
func adoptPassed(in *handover.In, saved SavedListener, log hclog.Logger) (net.Listener, error) {
	ul, err := adoptSocket(in, saved.Socket)
	if err != nil {
		return nil, err
	}
	return startPassed(ul, log), nil
}

var _ net.Listener = (*Passed)(nil)

// Accept is as [Listener.Accept].
func (p *Passed) Accept() (net.Conn, error) {
	select {
	case c := <-p.conns:
		return c, nil
	case <-p.done:
		return nil, &net.OpError{Op: "accept", Net: "unix", Addr: p.addr, Err: net.ErrClosed}
	}
}

// Addr is what the socket is bound to, a *net.UnixAddr.
func (p *Passed) Addr() net.Addr { return p.addr }

func (p *Passed) hold(ctx context.Context) error { return p.inlet.hold(ctx) }
func (p *Passed) release()                       { p.inlet.release() }

// Close ends the service and waits until every goroutine is gone. The socket's file
// stays, and clients who come later queue for the next supervisor.
func (p *Passed) Close() error {
	p.closing()
	return nil
}
