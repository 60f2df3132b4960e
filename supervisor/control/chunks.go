package control

import (
	"bytes"
	"math"
)

// chunks finds the end of a chunked body (RFC 9112, 7.1). What it makes of a faulty
// one does not matter: net/http, which reads it too, refuses it.
type chunks struct {
	at   chunkPart
	left int64 // of the size: what is read of it; of the content: bytes to come
	line int   // of a trailer: bytes of the line at hand, without CR
}

type chunkPart uint8

const (
	chunkSize    chunkPart = iota // the size's digits
	chunkIgnored                  // what is behind them, to the end of the line
	chunkContent
	chunkEnd // the line end behind the content
	chunkTrailer
)

// pass takes a part of the body, and is where in it the body ends, if it does.
func (c *chunks) pass(b []byte) (end int, over bool) {
	for i := 0; i < len(b); {
		if c.at == chunkContent {
			n := min(c.left, int64(len(b)-i))
			i += int(n)
			if c.left -= n; c.left == 0 {
				c.at = chunkEnd
			}
			continue
		}
		if c.step(b[i]) {
			return i + 1, true
		}
		i++
	}
	return len(b), false
}

// step takes a byte that is none of the content; it is true for the last one.
func (c *chunks) step(b byte) (over bool) {
	switch c.at {
	case chunkSize:
		if digit := bytes.IndexByte([]byte("0123456789abcdef"), b|0x20); digit >= 0 && c.left <= math.MaxInt64>>4 {
			c.left = c.left<<4 | int64(digit)
		} else if c.at = chunkIgnored; b == '\n' {
			c.content()
		}
	case chunkIgnored:
		if b == '\n' {
			c.content()
		}
	case chunkEnd:
		if b == '\n' {
			c.at, c.left = chunkSize, 0
		}
	case chunkTrailer:
		switch {
		case b == '\n' && c.line == 0:
			return true
		case b == '\n':
			c.line = 0
		case b != '\r':
			c.line++
		}
	}
	return false
}

// content begins what the size says.
func (c *chunks) content() {
	c.at = chunkContent
	if c.left == 0 {
		c.at, c.line = chunkTrailer, 0
	}
}
