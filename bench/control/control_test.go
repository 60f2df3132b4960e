package main

import (
	"bufio"
	"io"
	"net"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// prompter is a server of the line protocol that answers everything with hi.
func prompter(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "socket")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				end := ""
				for in := bufio.NewScanner(conn); in.Scan(); {
					if in.Text() == "prompt" {
						end = "\n> "
						io.WriteString(conn, end)
						continue
					}
					io.WriteString(conn, "hi\n"+end)
				}
			}()
		}
	}()
	return path
}

func TestLoadCountsAnswers(t *testing.T) {
	path := prompter(t)
	for _, dial := range []func() (session, error){dialPrompt(path, "@1 echo hi", "\n> "), dialOnce(path, "@1 echo hi")} {
		rate, err := load(dial, 4, 20*time.Millisecond)
		if err != nil || rate <= 0 {
			t.Errorf("%v per second, %v", rate, err)
		}
	}
}

func TestLoadTellsWhatGoesWrong(t *testing.T) {
	path := filepath.Join(t.TempDir(), "nobody")
	if _, err := load(dialHTTP(path, "GET", "/", "", ""), 1, time.Millisecond); err == nil || !strings.Contains(err.Error(), "nobody") {
		t.Errorf("%v", err)
	}
}
