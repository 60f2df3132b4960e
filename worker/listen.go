//go:build unix

package worker

import (
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"
	"sync"

	"golang.org/x/sys/unix"
)

// firstListenFD is where passed sockets begin, sd_listen_fds(3).
const firstListenFD = 3

// passed are the sockets that the supervisor has handed over, by name. They are
// looked for once, before anything else can take their variables for its own.
var passed = sync.OnceValues(func() (map[string]*os.File, error) {
	defer func() {
		for _, name := range []string{"LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"} {
			os.Unsetenv(name) // a child's descriptors are others
		}
	}()
	text := os.Getenv("LISTEN_FDS")
	if text == "" || os.Getenv("LISTEN_PID") != strconv.Itoa(os.Getpid()) {
		return nil, nil
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 0 || n > 1<<16 {
		return nil, fmt.Errorf("worker: LISTEN_FDS=%s is no number of sockets", text)
	}
	names := strings.Split(os.Getenv("LISTEN_FDNAMES"), ":")
	files := map[string]*os.File{}
	for i := range n {
		fd := firstListenFD + i
		unix.CloseOnExec(fd)
		name := strconv.Itoa(i)
		if i < len(names) && names[i] != "" {
			name = names[i]
		}
		files[name] = os.NewFile(uintptr(fd), name)
	}
	return files, nil
})

// Listener is the listening socket that the configuration names under `listen`.
// It is called once for a name. Closing it does not close the socket, which is
// the supervisor's and the other workers' as well.
func Listener(name string) (net.Listener, error) {
	files, err := passed()
	if err != nil {
		return nil, err
	}
	f := files[name]
	if f == nil {
		return nil, fmt.Errorf("worker: there is no socket %q; name it under listen in the pool's configuration", name)
	}
	l, err := net.FileListener(f)
	if err != nil {
		return nil, fmt.Errorf("worker: socket %q: %w", name, err)
	}
	f.Close() // l has a copy
	if u, ok := l.(*net.UnixListener); ok {
		u.SetUnlinkOnClose(false) // the node is the supervisor's
	}
	return l, nil
}
