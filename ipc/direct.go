package ipc

// Long frames, which are read straight to where they belong: into the message
// that is being put together. While there is more of it to come, the next frame
// is hoped to go on with it, and its payload read to where it would belong
// before its header has been looked at.

// worthDirect is how many missing bytes of a frame make it worth reading them
// straight to where they belong.
const worthDirect = 8 << 10

// beginDirect looks whether the frame at the front of the buffer, of which some
// is missing, can be read straight to where it belongs.
func (c *Conn) beginDirect() *breach {
	b := c.in.bytes()
	if len(b) < HeaderSize {
		return nil
	}
	h, br := parseHeader(b, c.chunk)
	if br != nil {
		return br
	}
	head := HeaderSize + int(h.NLen)
	missing := HeaderSize + int(h.Length) - len(b)
	a := &c.partial
	switch {
	case h.Type != TypeCall && h.Type != TypeResult, missing < worthDirect, len(b) < head, !c.heard,
		h.NFDs > 0 || len(c.arrived.fds) > 0, a.active && !a.continues(h):
		return nil
	}
	name := b[HeaderSize:head]
	if br := checkName(name); br != nil {
		return br
	}
	payload := int(h.Length) - int(h.NLen)
	if br := c.checkPart(h, payload); br != nil {
		return br
	}
	if !a.active {
		c.beginMessage(h, name)
	}
	c.reserve(payload)
	a.buf = append(a.buf, b[head:]...)
	a.direct, a.more, a.missing, a.size = true, h.Flags&FlagMore != 0, missing, HeaderSize+int64(h.Length)
	c.in.r, c.in.w = 0, 0
	return nil
}

// goOnDirect goes on once such a frame is whole, or with the next one of which
// bytes are there already.
func (c *Conn) goOnDirect() *breach {
	a := &c.partial
	if !a.direct {
		return c.useEarly()
	}
	a.direct = false
	size := a.size
	if !a.more {
		if br := c.complete(); br != nil {
			return br
		}
	}
	c.read += size
	return nil
}

// layout says where the bytes of a read go: what is missing of the frame at
// hand, then either the buffer, or the next header, and the payload behind it.
type layout struct {
	places [][]byte
	store  [3][]byte // of places
	hoped  bool      // it is the latter
	early  int       // bytes behind the message's that belong to the frame whose header is in the buffer
}

// beyond is how many bytes are read behind a long frame that ends its message:
// the next one's header, and short frames.
const beyond = 4 << 10

// receive reads once.
func (c *Conn) receive(fd, flags int) (n int, br *breach, err error) {
	a, l := &c.partial, &c.layout
	buf := (*c.in.buf)[c.in.w:]
	l.places, l.hoped = l.store[:0], false
	if a.missing > 0 {
		l.places = append(l.places, a.buf[len(a.buf):len(a.buf)+a.missing])
		buf = buf[:beyond]
	}
	from := len(a.buf) + a.missing
	room := min(cap(a.buf)-from, DefaultChunk)
	if a.active && (a.missing == 0 || a.more) && c.in.w < HeaderSize && room >= worthDirect {
		l.hoped = true
		l.places = append(l.places, buf[:HeaderSize-c.in.w], a.buf[from:from+room])
	} else {
		l.places = append(l.places, buf)
	}
	if len(c.before) > 0 {
		return c.receiveBefore(), nil, nil
	}
	return c.arrived.receive(fd, l.places, c.cfg.Hello.FDs > 0, flags)
}

// receiveBefore reads what comes ahead of what is in the socket.
func (c *Conn) receiveBefore() (n int) {
	for _, p := range c.layout.places {
		k := copy(p, c.before[n:])
		n += k
	}
	if c.before = c.before[n:]; len(c.before) == 0 {
		c.before = nil
	}
	return n
}

// place notes that n bytes have come.
func (c *Conn) place(n int) {
	a, l := &c.partial, &c.layout
	k := min(n, a.missing)
	a.buf = a.buf[:len(a.buf)+k]
	a.missing -= k
	n -= k
	if l.hoped {
		k = min(n, HeaderSize-c.in.w)
		c.in.w += k
		l.early = n - k
		return
	}
	c.in.w += n
}

// useEarly looks at the header of the frame whose payload was read to where the
// message goes on, and puts elsewhere what does not belong there.
func (c *Conn) useEarly() *breach {
	a, l := &c.partial, &c.layout
	n := l.early
	l.early = 0
	early := a.buf[len(a.buf) : len(a.buf)+n]
	h, br := parseHeader(c.in.bytes(), c.chunk)
	switch {
	case br != nil:
		return br
	case !a.continues(h) || h.NLen > 0 || h.NFDs > 0 || len(c.arrived.fds) > 0:
		c.in.w += copy((*c.in.buf)[c.in.w:], early)
		return nil
	}
	if br := c.checkPart(h, int(h.Length)); br != nil {
		return br
	}
	taken := min(n, int(h.Length))
	c.in.r, c.in.w = 0, copy(*c.in.buf, early[taken:])
	a.buf = a.buf[:len(a.buf)+taken]
	c.reserve(int(h.Length) - taken)
	a.direct, a.more, a.missing, a.size = true, h.Flags&FlagMore != 0, int(h.Length)-taken, HeaderSize+int64(h.Length)
	return nil
}
