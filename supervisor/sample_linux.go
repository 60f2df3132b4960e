package supervisor

import (
	"bytes"
	"os"
	"strconv"
	"time"
)

// clockTick is the unit of times in proc(5): USER_HZ is 100 on every system that
// Go runs on.
const clockTick = time.Second / 100

var pageSize = int64(os.Getpagesize())

// takenBy reads what proc(5) says of a process; false: it has gone.
func takenBy(pid int) (u taken, ok bool) {
	dir := "/proc/" + strconv.Itoa(pid)
	b, err := os.ReadFile(dir + "/stat")
	if err != nil {
		return u, false
	}
	// The second field is the program's name, which may hold anything.
	fields := bytes.Fields(b[bytes.LastIndexByte(b, ')')+1:])
	if len(fields) < 22 {
		return u, false
	}
	number := func(field int) int64 { // as proc(5) counts them, from 1
		n, _ := strconv.ParseInt(string(fields[field-3]), 10, 64)
		return n
	}
	u.cpu = time.Duration(number(14)+number(15)) * clockTick
	u.rss = number(24) * pageSize
	u.fds = openFDs(dir + "/fd")
	return u, true
}

// openFDs counts; since Linux 6.2 the directory's size says it.
func openFDs(dir string) int {
	st, err := os.Stat(dir)
	if err == nil && st.Size() > 0 {
		return int(st.Size())
	}
	f, err := os.Open(dir)
	if err != nil {
		return 0
	}
	defer f.Close()
	names, _ := f.Readdirnames(-1) // what was read counts
	return len(names)
}
