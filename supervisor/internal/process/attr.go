package process

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"slices"
	"syscall"

	"golang.org/x/sys/unix"
)

// Attr is what the process is given before its program runs. The zero value
// changes nothing.
type Attr struct {
	Credential  *Credential // nil: the supervisor's own
	Umask       *uint32     // at most 0777; nil: inherited
	Limits      []Limit     // set in this order
	Nice        *int        // -20 (the most) to 19; nil: inherited
	OOMScoreAdj *int        // -1000 (never killed) to 1000; nil: inherited
	NoNewPrivs  bool        // programs with set-user-id bits or capabilities give it nothing more (prctl(2))

	// ListenFDs is how many of Extra, from the first on, are listening sockets.
	// If there are any, LISTEN_PID is set to the process's own pid, as
	// sd_listen_fds(3) demands; LISTEN_FDS and LISTEN_FDNAMES are for the caller to
	// put into Env.
	ListenFDs int
}

// Limit is one setrlimit(2). Resource is a value of LimitNames.
type Limit struct {
	Resource   int
	Soft, Hard uint64 // Unlimited: none
}

// Unlimited is RLIM_INFINITY of setrlimit(2).
const Unlimited = uint64(unix.RLIM_INFINITY)

// Credential is a user to become: real, effective and saved ids, and all the
// supplementary groups there are to be.
type Credential struct {
	UID, GID uint32
	Groups   []uint32
	User     string // name for sentences and the environment; may be empty
	Home     string // for the environment; may be empty
}

func (c *Credential) String() string {
	who := fmt.Sprintf("uid %d, gid %d", c.UID, c.GID)
	if c.User != "" {
		return fmt.Sprintf("user %s (%s)", c.User, who)
	}
	return who
}

// sys is c as os/exec takes it. Groups that are nil are none, not unchanged.
func (c *Credential) sys() *syscall.Credential {
	if c == nil {
		return nil
	}
	return &syscall.Credential{Uid: c.UID, Gid: c.GID, Groups: c.sortedGroups()}
}

// sortedGroups is how the kernel gives them back.
func (c *Credential) sortedGroups() []uint32 {
	groups := slices.Clone(c.Groups)
	slices.Sort(groups)
	return slices.Compact(groups)
}

// check refuses what would otherwise go wrong without a word: numbers that the
// kernel cuts off, and a user who can't be become.
func (s Spec) check() error {
	if len(s.Command) == 0 {
		return errors.New("there is no program to start")
	}
	if what := s.missing(); what != "" {
		return fmt.Errorf("there is no support for %s on %s; leave it away, or run brood on Linux", what, runtime.GOOS)
	}
	a := s.Attr
	switch {
	case a.Umask != nil && *a.Umask > 0o777:
		return fmt.Errorf("umask %#o is more than 0777", *a.Umask)
	case a.Nice != nil && (*a.Nice < -20 || *a.Nice > 19):
		return fmt.Errorf("nice %d is not within -20 and 19", *a.Nice)
	case a.OOMScoreAdj != nil && (*a.OOMScoreAdj < -1000 || *a.OOMScoreAdj > 1000):
		return fmt.Errorf("oom_score_adj %d is not within -1000 and 1000", *a.OOMScoreAdj)
	case a.ListenFDs < 0 || a.ListenFDs > len(s.Extra):
		return fmt.Errorf("%d listening sockets are announced and %d descriptors handed over", a.ListenFDs, len(s.Extra))
	}
	for _, l := range a.Limits {
		if l.Soft > l.Hard {
			return fmt.Errorf("limit %s: the soft one (%s) is above the hard one (%s)", limitName(l.Resource), limitValue(l.Soft), limitValue(l.Hard))
		}
	}
	if a.Credential != nil && os.Geteuid() != 0 {
		return onlyRoot(a.Credential.String())
	}
	return nil
}

// explain says more about a failure to start than its errno does. A nil err
// stays nil.
func (s Spec) explain(err error) error {
	c := s.Attr.Credential
	switch {
	case err == nil:
		return nil
	case s.CgroupFD > 0 && isAny(err, unix.EBUSY, unix.EOPNOTSUPP, unix.ENODEV, unix.EBADF, unix.ENOTDIR, unix.ENOSYS, unix.E2BIG):
		return fmt.Errorf("its cgroup does not take it in: %w", err)
	case c != nil && errors.Is(err, unix.EPERM):
		return fmt.Errorf("it can't become %s; brood needs the capabilities CAP_SETUID and CAP_SETGID, and the id must exist in this user namespace: %w", c, err)
	case c != nil && errors.Is(err, unix.EINVAL):
		return fmt.Errorf("it can't become %s, which does not exist in this user namespace: %w", c, err)
	case c != nil && errors.Is(err, unix.EACCES):
		return fmt.Errorf("%s may not execute it, or not enter its directory: %w", c, err)
	case errors.Is(err, unix.EAGAIN):
		return fmt.Errorf("there are as many processes as the limits of user, cgroup or system (RLIMIT_NPROC, pids.max, kernel.pid_max) allow: %w", err)
	}
	return err
}

func isAny(err error, targets ...error) bool {
	return slices.ContainsFunc(targets, func(t error) bool { return errors.Is(err, t) })
}
