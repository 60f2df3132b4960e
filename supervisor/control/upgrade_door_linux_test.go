package control

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"golang.org/x/sys/unix"

	"example.com/brood/supervisor/handover"
	"example.com/brood/supervisor/handover/handovertest"
)

// adopt has another listener take l's place. Meanwhile is called while it is held,
// and is for clients: of those that l has accepted nobody here takes care.
func adopt(t testing.TB, l net.Listener, cfg ListenConfig, meanwhile func()) net.Listener {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if err := l.(holder).hold(ctx); err != nil {
		t.Fatal(err)
	}
	meanwhile()
	var out handover.Out
	saved, err := ExportListener(l, &out)
	if err != nil {
		t.Fatal(err)
	}
	in, saved := handovertest.Carry(t, &out, saved)
	vanishDoor(l)
	heir, err := AdoptListener(cfg, in, saved)
	if err != nil {
		t.Fatal(err)
	}
	return heir
}

// TestAdoptedListener: it is the one that it was in all that a client or another
// supervisor can see.
func TestAdoptedListener(t *testing.T) {
	noLeaks(t)
	path := newPath(t)
	cfg := ListenConfig{Path: path, every: time.Hour}
	var l net.Listener = listen(t, cfg)
	stop, intruded := make(chan struct{}), make(chan error, 1)
	go func() { // nobody else gets the path at any moment
		for {
			select {
			case <-stop:
				intruded <- nil
				return
			default:
			}
			if other, err := Listen(cfg); !errors.Is(err, ErrInUse) {
				if err == nil {
					other.Close()
				}
				intruded <- fmt.Errorf("another supervisor: %v", err)
				return
			}
		}
	}()
	before, err := os.Lstat(path)
	if err != nil {
		t.Fatal(err)
	}
	for range 20 {
		var queued []net.Conn
		l = adopt(t, l, cfg, func() {
			for range 5 {
				queued = append(queued, dial(t, path))
			}
		})
		for _, c := range queued {
			defer c.Close()
			at, err := l.Accept()
			if err != nil {
				t.Fatal(err)
			}
			at.Close()
		}
	}
	close(stop)
	if err := <-intruded; err != nil {
		t.Error(err)
	}
	if now, err := os.Lstat(path); err != nil || !os.SameFile(before, now) {
		t.Error("it is another file", err)
	}
	if text, err := os.ReadFile(path + ".lock"); err != nil || string(text) != fmt.Sprintln(os.Getpid()) {
		t.Errorf("the lock file says %q, %v", text, err)
	}
	// It still watches over its file.
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if err := l.(*Listener).Check(); err != nil {
		t.Error(err)
	}
	talk(t, l.(*Listener))
	if err := l.Close(); err != nil {
		t.Error(err)
	}
	if names := namesIn(t, filepath.Dir(path)); names != "control.sock.lock" {
		t.Errorf("after Close there is %s", names)
	}
}

// TestAdoptedListenerServesTheDeletedSocket: who queues at a socket whose node has
// gone is served by the next program.
func TestAdoptedListenerServesTheDeletedSocket(t *testing.T) {
	noLeaks(t)
	path := newPath(t)
	cfg := ListenConfig{Path: path, every: time.Hour}
	l := listen(t, cfg)
	heir := adopt(t, l, cfg, func() {
		c := dial(t, path)
		t.Cleanup(func() { c.Close() })
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
		if err := l.restore(); err != nil { // as watch might have done just before
			t.Fatal(err)
		}
	}).(*Listener)
	if len(heir.retiring) != 1 {
		t.Fatalf("%d sockets are being emptied", len(heir.retiring))
	}
	at, err := heir.Accept()
	if err != nil {
		t.Fatal(err)
	}
	at.Close()
	talk(t, heir)
	heir.Close()
}

// TestAdoptedListenerChangesItsMode to what the configuration says by then.
func TestAdoptedListenerChangesItsMode(t *testing.T) {
	noLeaks(t)
	path := newPath(t)
	var log bytes.Buffer
	var l net.Listener = listen(t, ListenConfig{Path: path, every: time.Hour})
	group := os.Getegid()
	if os.Geteuid() == 0 {
		group = 12345
	}
	for _, tt := range []struct {
		cfg  ListenConfig
		mode os.FileMode
		gid  int
		log  string
	}{
		{ListenConfig{Mode: 0o660, Group: fmt.Sprint(group)}, 0o660, group, ""},
		{ListenConfig{Mode: 0o606, Group: fmt.Sprint(group)}, 0o606, group, ""},
		{ListenConfig{Mode: 0o600, Group: "no such group"}, 0o606, group, "keeps its mode and group"},
		{ListenConfig{}, 0o600, os.Getegid(), ""},
	} {
		log.Reset()
		tt.cfg.Path, tt.cfg.every, tt.cfg.Log = path, time.Hour, hclog.New(&hclog.LoggerOptions{Output: &log})
		l = adopt(t, l, tt.cfg, func() {})
		var st unix.Stat_t
		if err := unix.Lstat(path, &st); err != nil || os.FileMode(st.Mode&0o777) != tt.mode || int(st.Gid) != tt.gid {
			t.Errorf("%+v: mode %o, group %d, %v", tt.cfg, st.Mode&0o777, st.Gid, err)
		}
		if !strings.Contains(log.String(), tt.log) || tt.log == "" && log.Len() > 0 {
			t.Errorf("%+v: the log says %s", tt.cfg, log.String())
		}
		talk(t, l.(*Listener))
	}
	l.Close()
}

// TestAdoptListenerErrors: descriptors that are not what they should be.
func TestAdoptListenerErrors(t *testing.T) {
	noLeaks(t)
	path := newPath(t)
	l := listen(t, ListenConfig{Path: path, every: time.Hour})
	var out handover.Out
	if _, err := ExportListener(l, &out); err == nil || !strings.Contains(err.Error(), "while a hold is on") {
		t.Error(err)
	}
	foreign, err := net.Listen("unix", path+"2")
	if err != nil {
		t.Fatal(err)
	}
	defer foreign.Close()
	if _, err := ExportListener(foreign, &out); err == nil {
		t.Error("a foreign listener was exported")
	}
	if err := l.hold(t.Context()); err != nil {
		t.Fatal(err)
	}
	saved, err := ExportListener(l, &out)
	if err != nil {
		t.Fatal(err)
	}
	null, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	other := saved
	other.Socket = out.FD(int(null.Fd()))
	in := handovertest.Deliver(t, &out)
	defer in.Close()
	if _, err := AdoptListener(ListenConfig{Path: path + "3"}, in, saved); err == nil || !strings.Contains(err.Error(), "is asked for") {
		t.Error(err)
	}
	if _, err := AdoptListener(ListenConfig{Path: path}, in, other); err == nil {
		t.Error("what is no socket was adopted")
	}
	l.release()
	talk(t, l)
}

// TestAdoptedPassedSocket: one of the service manager's goes along as well.
func TestAdoptedPassedSocket(t *testing.T) {
	noLeaks(t)
	path := newPath(t)
	if err := os.Mkdir(filepath.Dir(path), 0o700); err != nil && !errors.Is(err, os.ErrExist) {
		t.Fatal(err)
	}
	ln, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	ln.(*net.UnixListener).SetUnlinkOnClose(false)
	defer ln.Close()
	f, err := ln.(*net.UnixListener).File()
	if err != nil {
		t.Fatal(err)
	}
	p, err := newPassed(f, nil)
	if err != nil {
		t.Fatal(err)
	}
	c := dial(t, path)
	defer c.Close()
	at, err := p.Accept()
	if err != nil {
		t.Fatal(err)
	}
	at.Close()
	heir := adopt(t, p, ListenConfig{Path: path}, func() {
		c := dial(t, path)
		t.Cleanup(func() { c.Close() })
	})
	if _, ok := heir.(*Passed); !ok || heir.Addr().String() != path {
		t.Errorf("%T %s", heir, heir.Addr())
	}
	if at, err = heir.Accept(); err != nil {
		t.Fatal(err)
	}
	at.Close()
	heir.Close()
}

// TestHoldOfAnInlet: nobody is let in meanwhile, and nobody is lost.
func TestHoldOfAnInlet(t *testing.T) {
	noLeaks(t)
	l := listen(t, ListenConfig{Path: newPath(t), every: time.Hour})
	var let atomic.Int32
	l.serveTo(func(c net.Conn) { let.Add(1); c.Close() }, func() bool { return false })
	for range 200 {
		begin := let.Load()
		dial(t, l.plan.path).Close()
		until(t, "the first", func() bool { return let.Load() == begin+1 })
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		if err := l.hold(ctx); err != nil {
			t.Fatal(err)
		}
		cancel()
		dial(t, l.plan.path).Close()
		if n := let.Load(); n != begin+1 {
			t.Fatalf("%d were let in", n-begin)
		}
		l.release()
		until(t, "the second", func() bool { return let.Load() == begin+2 })
	}
	// A close while it is held.
	if err := l.hold(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := l.Close(); err != nil {
		t.Error(err)
	}
}

// TestUpgradeCarriesAudit: what could not be written is written by the next program,
// once; a log that is stuck stands in the way.
func TestUpgradeCarriesAudit(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "audit")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "log")
	th := newThrone(t, Config{Audit: path}, workers("web", 1))
	v := th.dial()
	ask := func(word string) {
		v.say("json @web print " + word + "\n")
		v.wantLine(`"outcome":"ok"`)
	}
	ask("one")
	until(t, "the first line", func() bool { b, _ := os.ReadFile(path); return bytes.Count(b, []byte{'\n'}) == 1 })
	if err := os.Rename(dir, dir+".gone"); err != nil {
		t.Fatal(err)
	}
	ask("two")
	ask("three")
	until(t, "the trouble", func() bool { return th.now().audit.trouble() != "" })
	patient(t, func(ctx context.Context) error {
		got, err := th.inVain(ctx)
		if err == nil && len(got.Audit.Lines) != 2 {
			t.Errorf("carried: %+v", got.Audit)
		}
		return err
	})
	th.halfway = func() { // it comes back when this one does not write any more
		th.halfway = nil
		if err := os.Rename(dir+".gone", dir); err != nil {
			t.Fatal(err)
		}
	}
	patient(t, th.upgrade)
	ask("four")
	th.now().audit.close()
	b, _ := os.ReadFile(path)
	if n := bytes.Count(b, []byte(`"verb":"command"`)); n != 4 {
		t.Errorf("%d lines: %s", n, b)
	}
}

// TestHalfAnAuditLine goes on only in the file that it began in.
func TestHalfAnAuditLine(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	if err := os.WriteFile(path, []byte(`{"at":"x",`), 0o600); err != nil {
		t.Fatal(err)
	}
	fi, _ := os.Stat(path)
	half := savedAudit{Half: []byte("\"uid\":0}\n"), Of: idOf(fi), Drops: 2}
	a, err := newAuditor(path, true, half, hclog.NewNullLogger())
	if err != nil {
		t.Fatal(err)
	}
	a.close()
	b, _ := os.ReadFile(path)
	if !strings.HasPrefix(string(b), "{\"at\":\"x\",\"uid\":0}\n") || !strings.Contains(string(b), "2 audit lines") {
		t.Errorf("%s", b)
	}
	if a, err = newAuditor(path+"2", true, half, hclog.NewNullLogger()); err != nil {
		t.Fatal(err)
	}
	a.close()
	if b, _ := os.ReadFile(path + "2"); strings.Contains(string(b), "\"uid\":0}\n\"") || strings.HasPrefix(string(b), `"uid"`) {
		t.Errorf("%s", b)
	}
}

// TestExportOfAStuckAudit: nothing is exported while it is not known what is written.
func TestExportOfAStuckAudit(t *testing.T) {
	w := &stuckWriter{free: make(chan struct{})}
	a, err := newAuditor("", false, savedAudit{}, hclog.New(&hclog.LoggerOptions{Output: w}))
	if err != nil {
		t.Fatal(err)
	}
	defer a.close()
	a.line(auditedCaller, RoleOperator, verbStop, "0", "ok", "")
	until(t, "the write", func() bool { return a.busy.Load() != 0 })
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := a.export(ctx); err == nil || problemOf(err).Code != "unavailable" {
		t.Error(err)
	}
	close(w.free)
	left, err := a.export(t.Context())
	if err != nil || len(left.Lines) != 0 || !strings.Contains(w.String(), "verb=stop") {
		t.Error(left, err, w)
	}
}
