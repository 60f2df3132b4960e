package supervisor

import (
	"fmt"
	"os"
	"strings"
)

// residentBytes is a process's resident set, proc(5) statm; 0 if it has gone.
func residentBytes(pid int) int64 {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/statm", pid))
	if err != nil {
		return 0
	}
	var size, resident int64
	if _, err := fmt.Sscan(string(b), &size, &resident); err != nil {
		return 0
	}
	return resident * int64(os.Getpagesize())
}

// oomKills is how many processes the kernel has killed for want of memory since
// it started, proc(5) vmstat; 0 where it does not say.
func oomKills() (n int64) {
	b, err := os.ReadFile("/proc/vmstat")
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(b)) {
		if rest, ok := strings.CutPrefix(line, "oom_kill "); ok {
			_, _ = fmt.Sscan(rest, &n) // 0 where it is no number
		}
	}
	return n
}
