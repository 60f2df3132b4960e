package main

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"time"
)

// session is a client that asks again and again. It is used by one goroutine.
type session interface {
	ask() error
	io.Closer
}

// load has so many clients ask one after the other's answer, for so long, and
// returns the requests per second.
func load(dial func() (session, error), clients int, length time.Duration) (float64, error) {
	sessions := make([]session, clients)
	for i := range sessions {
		s, err := dial()
		if err == nil {
			defer s.Close()
			err = s.ask() // warm up
		}
		if err != nil {
			return 0, err
		}
		sessions[i] = s
	}
	counts, errs := make([]int, clients), make([]error, clients)
	begin := time.Now()
	until := begin.Add(length)
	var wg sync.WaitGroup
	for i, s := range sessions {
		wg.Go(func() {
			for time.Now().Before(until) && errs[i] == nil {
				errs[i] = s.ask()
				counts[i]++
			}
		})
	}
	wg.Wait()
	took := time.Since(begin)
	n := 0
	for _, c := range counts {
		n += c
	}
	return float64(n) / took.Seconds(), errors.Join(errs...)
}

// wait bounds every answer.
const wait = 20 * time.Second

// httpSession is a connection that is kept. The request is written as it is, so
// that the client costs as little as it can and the same for every server.
type httpSession struct {
	conn    net.Conn
	in      *bufio.Reader
	request []byte
	asked   *http.Request // what ReadResponse wants to know
}

func dialHTTP(path, method, target, contentType, body string) func() (session, error) {
	text := fmt.Sprintf("%s %s HTTP/1.1\r\nHost: bench\r\n", method, target)
	if method == "POST" {
		text += fmt.Sprintf("Content-Type: %s\r\nContent-Length: %d\r\n", contentType, len(body))
	}
	text += "\r\n" + body
	return func() (session, error) {
		conn, err := net.Dial("unix", path)
		if err != nil {
			return nil, err
		}
		return &httpSession{conn, bufio.NewReaderSize(conn, 64<<10), []byte(text), &http.Request{Method: method}}, nil
	}
}

func (s *httpSession) Close() error { return s.conn.Close() }

func (s *httpSession) ask() error {
	s.conn.SetDeadline(time.Now().Add(wait))
	if _, err := s.conn.Write(s.request); err != nil {
		return err
	}
	resp, err := http.ReadResponse(s.in, s.asked)
	if err != nil {
		return err
	}
	n, err := io.Copy(io.Discard, resp.Body)
	if err != nil {
		return err
	}
	if resp.StatusCode != http.StatusOK || n == 0 {
		return fmt.Errorf("it answers %s with %d bytes", resp.Status, n)
	}
	if resp.Close {
		return errors.New("it closes the connection")
	}
	return nil
}

// promptSession is an interactive line protocol: an answer ends with a prompt.
type promptSession struct {
	conn   net.Conn
	line   []byte
	prompt []byte // the end of every answer
	buf    []byte
}

func dialPrompt(path, line, prompt string) func() (session, error) {
	return func() (session, error) {
		conn, err := net.Dial("unix", path)
		if err != nil {
			return nil, err
		}
		s := &promptSession{conn, []byte("prompt\n"), []byte(prompt), make([]byte, 256<<10)}
		if _, err := s.exchange(); err != nil {
			conn.Close()
			return nil, err
		}
		s.line = []byte(line + "\n")
		return s, nil
	}
}

func (s *promptSession) Close() error { return s.conn.Close() }

func (s *promptSession) ask() error {
	n, err := s.exchange()
	if err == nil && n == len(s.prompt) {
		err = errors.New("an empty answer")
	}
	return err
}

func (s *promptSession) exchange() (n int, err error) {
	s.conn.SetDeadline(time.Now().Add(wait))
	if _, err := s.conn.Write(s.line); err != nil {
		return 0, err
	}
	for !bytes.HasSuffix(s.buf[:n], s.prompt) {
		if n == len(s.buf) {
			return n, errors.New("an answer without an end")
		}
		k, err := s.conn.Read(s.buf[n:])
		if err != nil {
			return n, fmt.Errorf("after %d bytes: %w", n, err)
		}
		n += k
	}
	return n, nil
}

// onceSession dials for each question and reads to the end, as socat does.
type onceSession struct {
	path string
	line []byte
	buf  []byte
}

func dialOnce(path, line string) func() (session, error) {
	return func() (session, error) {
		return &onceSession{path, []byte(line + "\n"), make([]byte, 64<<10)}, nil
	}
}

func (s *onceSession) Close() error { return nil }

func (s *onceSession) ask() error {
	conn, err := net.Dial("unix", s.path)
	if err != nil {
		return err
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(wait))
	if _, err := conn.Write(s.line); err != nil {
		return err
	}
	if err := conn.(*net.UnixConn).CloseWrite(); err != nil {
		return err
	}
	for n := 0; ; {
		k, err := conn.Read(s.buf)
		n += k
		if err == io.EOF {
			if n == 0 {
				return errors.New("an empty answer")
			}
			return nil
		}
		if err != nil {
			return err
		}
	}
}
