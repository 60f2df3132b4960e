package shim

import (
	"syscall"
	"unsafe"
)

// Order is what a shim is to do. Pointers that are nil, and zero values, leave
// things as they are.
type Order struct {
	Parent int // the supervisor's pid: a shim with another parent is an orphan and exits
	Report int // number of the pipe's descriptor in the shim

	Path string // of the program, absolute
	Argv []string
	Env  []string // whole environment
	Dir  string   // entered as the new user. Empty: not changed

	OOMScoreAdj *int
	Nice        *int
	Umask       *uint32
	Limits      []Limit
	Credential  *Credential
	NoNewPrivs  bool
	ListenPID   bool // add LISTEN_PID to the environment
}

// Limit is one setrlimit(2).
type Limit struct {
	Resource   int
	Soft, Hard uint64
}

// Credential is the user to become. Groups are the supplementary ones, in
// ascending order as the kernel gives them back, each once.
type Credential struct {
	UID, GID uint32
	Groups   []uint32
}

// mark begins every order. Its last byte is the version: an order is read by
// the executable that wrote it, but one that was replaced meanwhile must not
// misread it.
const mark = "\x7fbrood-shim order\x01"

// Each of these bits says that its field follows.
const (
	hasOOM = 1 << iota
	hasNice
	hasUmask
	hasCredential
	hasNoNewPrivs
	hasListenPID
	hasAll = 1<<iota - 1
)

// Encode gives the order as bytes: the mark, then numbers of eight bytes with
// the lowest first, and strings, each with its length before and a NUL after
// it. It fails with EINVAL if a string has a NUL.
func (o *Order) Encode() ([]byte, error) {
	w := writer{b: make([]byte, 0, 4096)}
	w.b = append(w.b, mark...)
	w.num(uint64(o.Parent))
	w.num(uint64(o.Report))
	var has uint64
	set := func(bit uint64, on bool) {
		if on {
			has |= bit
		}
	}
	set(hasOOM, o.OOMScoreAdj != nil)
	set(hasNice, o.Nice != nil)
	set(hasUmask, o.Umask != nil)
	set(hasCredential, o.Credential != nil)
	set(hasNoNewPrivs, o.NoNewPrivs)
	set(hasListenPID, o.ListenPID)
	w.num(has)
	if o.OOMScoreAdj != nil {
		w.num(uint64(*o.OOMScoreAdj))
	}
	if o.Nice != nil {
		w.num(uint64(*o.Nice))
	}
	if o.Umask != nil {
		w.num(uint64(*o.Umask))
	}
	w.num(uint64(len(o.Limits)))
	for _, l := range o.Limits {
		w.num(uint64(l.Resource))
		w.num(l.Soft)
		w.num(l.Hard)
	}
	if c := o.Credential; c != nil {
		w.num(uint64(c.UID))
		w.num(uint64(c.GID))
		w.num(uint64(len(c.Groups)))
		for _, g := range c.Groups {
			w.num(uint64(g))
		}
	}
	w.str(o.Path)
	w.str(o.Dir)
	w.list(o.Argv)
	w.list(o.Env)
	if w.nul {
		return nil, syscall.EINVAL
	}
	return w.b, nil
}

// decode reads an order. Its strings are parts of b and have a NUL behind them.
func decode(b []byte) (o Order, ok bool) {
	if len(b) < len(mark) || string(b[:len(mark)]) != mark {
		return o, false
	}
	r := reader{b: b[len(mark):]}
	o.Parent, o.Report = int(r.num()), int(r.num())
	has := r.num()
	r.bad = r.bad || has&^hasAll != 0
	if has&hasOOM != 0 {
		n := int(r.num())
		o.OOMScoreAdj = &n
	}
	if has&hasNice != 0 {
		n := int(r.num())
		o.Nice = &n
	}
	if has&hasUmask != 0 {
		n := r.num32()
		o.Umask = &n
	}
	o.NoNewPrivs, o.ListenPID = has&hasNoNewPrivs != 0, has&hasListenPID != 0
	o.Limits = make([]Limit, r.count(24))
	for i := range o.Limits {
		o.Limits[i] = Limit{int(r.num()), r.num(), r.num()}
	}
	if has&hasCredential != 0 {
		c := &Credential{UID: r.num32(), GID: r.num32()}
		c.Groups = make([]uint32, r.count(8))
		for i := range c.Groups {
			c.Groups[i] = r.num32()
		}
		o.Credential = c
	}
	o.Path, o.Dir = r.str(), r.str()
	o.Argv, o.Env = r.list(), r.list()
	return o, !r.bad && len(r.b) == 0
}

type writer struct {
	b   []byte
	nul bool // a string had a NUL
}

func (w *writer) num(n uint64) {
	for i := 0; i < 64; i += 8 {
		w.b = append(w.b, byte(n>>i))
	}
}

func (w *writer) str(s string) {
	w.nul = w.nul || hasNUL(s)
	w.num(uint64(len(s)))
	w.b = append(append(w.b, s...), 0)
}

func (w *writer) list(l []string) {
	w.num(uint64(len(l)))
	for _, s := range l {
		w.str(s)
	}
}

func hasNUL(s string) bool {
	for i := range len(s) {
		if s[i] == 0 {
			return true
		}
	}
	return false
}

type reader struct {
	b   []byte
	bad bool // it was too short
}

func (r *reader) take(n uint64) []byte {
	if n > uint64(len(r.b)) {
		r.bad, n = true, uint64(len(r.b))
	}
	var head []byte
	head, r.b = r.b[:n], r.b[n:]
	return head
}

func (r *reader) num() (n uint64) {
	for i, c := range r.take(8) {
		n |= uint64(c) << (8 * i)
	}
	return n
}

func (r *reader) num32() uint32 {
	n := r.num()
	r.bad = r.bad || n>>32 != 0
	return uint32(n)
}

// count reads how many items of at least size bytes follow.
func (r *reader) count(size int) int {
	n := r.num()
	if n > uint64(len(r.b)/size) {
		r.bad = true
		return 0
	}
	return int(n)
}

func (r *reader) str() string {
	n := r.count(1)
	s := r.take(uint64(n) + 1)
	if len(s) != n+1 || s[n] != 0 {
		r.bad = true
		return ""
	}
	text := unsafe.String(&s[0], n)
	r.bad = r.bad || hasNUL(text)
	return text
}

func (r *reader) list() []string {
	l := make([]string, r.count(9))
	for i := range l {
		l[i] = r.str()
	}
	return l
}
