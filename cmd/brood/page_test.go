package main

import (
	"bufio"
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

// The status page, seen as people see it: by a browser, through nginx, under a
// path of its own.

var screenshot = flag.Bool("screenshot", false, "write docs/status-page.png anew")

// behindNginx starts nginx in front of a socket, at /ops/brood/, and returns the
// page's address.
func behindNginx(t *testing.T, socket string) string {
	t.Helper()
	need(t, "nginx")
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := l.Addr().String()
	l.Close()
	dir := socketDir(t)
	conf := fmt.Sprintf(`daemon off; pid DIR/pid; error_log DIR/error;
events {}
http {
	access_log off;
	client_body_temp_path DIR/1; proxy_temp_path DIR/2; fastcgi_temp_path DIR/3; uwsgi_temp_path DIR/4; scgi_temp_path DIR/5;
	server {
		listen %s;
		location /ops/brood/ {
			proxy_pass http://unix:%s:/;
			proxy_http_version 1.1;
			proxy_set_header Host $http_host;
			proxy_set_header Connection "";
		}
	}
}
`, addr, socket)
	if err := os.WriteFile(dir+"/conf", []byte(strings.ReplaceAll(conf, "DIR", dir)), 0o644); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("nginx", "-p", dir, "-c", dir+"/conf")
	cmd.Stderr = t.Output()
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Signal(os.Interrupt)
		cmd.Wait()
	})
	until(t, "nginx listens", func() bool {
		c, err := net.Dial("tcp", addr)
		if err == nil {
			c.Close()
		}
		return err == nil
	})
	return "http://" + addr + "/ops/brood/"
}

// browser is a headless Chromium that is spoken to through a pipe
// (--remote-debugging-pipe): messages of JSON with a NUL behind each.
type browser struct {
	t       *testing.T
	to, in  *os.File
	from    *bufio.Reader // of in
	id      int
	session string
	wrong   []string // what the page has complained of
}

func browse(t *testing.T, url string) *browser {
	t.Helper()
	need(t, "chromium")
	theirIn, ourOut, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	ourIn, theirOut, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	data, err := os.MkdirTemp("", "chromium")
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("chromium", "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
		"--disable-component-update", "--disable-sync", "--hide-scrollbars", "--user-data-dir="+data, "--remote-debugging-pipe")
	cmd.ExtraFiles = []*os.File{theirIn, theirOut}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	theirIn.Close()
	theirOut.Close()
	b := &browser{t: t, to: ourOut, in: ourIn, from: bufio.NewReaderSize(ourIn, 1<<20)}
	t.Cleanup(func() {
		b.call("", "Browser.close", nil)
		ourOut.Close()
		timer := time.AfterFunc(20*time.Second, func() { cmd.Process.Kill() })
		cmd.Wait()
		timer.Stop()
		ourIn.Close()
		os.RemoveAll(data)
	})
	target := b.call("", "Target.createTarget", map[string]any{"url": "about:blank"})
	b.session, _ = b.call("", "Target.attachToTarget", map[string]any{"targetId": target["targetId"], "flatten": true})["sessionId"].(string)
	b.call(b.session, "Runtime.enable", nil)
	b.call(b.session, "Log.enable", nil)
	b.call(b.session, "Page.navigate", map[string]any{"url": url})
	return b
}

// call sends one message and reads until its answer, for which there is a minute.
func (b *browser) call(session, method string, params map[string]any) map[string]any {
	b.t.Helper()
	b.id++
	m := map[string]any{"id": b.id, "method": method, "params": params}
	if params == nil {
		m["params"] = map[string]any{}
	}
	if session != "" {
		m["sessionId"] = session
	}
	text, _ := json.Marshal(m)
	end := time.Now().Add(time.Minute)
	b.to.SetWriteDeadline(end)
	b.in.SetReadDeadline(end)
	if _, err := b.to.Write(append(text, 0)); err != nil {
		b.t.Errorf("%s: %v", method, err)
		return nil
	}
	for {
		text, err := b.from.ReadBytes(0)
		if err != nil {
			if method != "Browser.close" {
				b.t.Errorf("%s: %v", method, err)
			}
			return nil
		}
		var a struct {
			ID     int
			Method string
			Result map[string]any
			Error  any
			Params json.RawMessage
		}
		if err := json.Unmarshal(bytes.TrimRight(text, "\x00"), &a); err != nil {
			b.t.Fatal(err)
		}
		if a.Method == "Runtime.exceptionThrown" || a.Method == "Log.entryAdded" {
			b.wrong = append(b.wrong, string(a.Params))
		}
		if a.ID == b.id {
			if a.Error != nil {
				b.t.Fatalf("%s: %v", method, a.Error)
			}
			return a.Result
		}
	}
}

// eval is the value of an expression in the page.
func (b *browser) eval(expression string) any {
	b.t.Helper()
	r := b.call(b.session, "Runtime.evaluate", map[string]any{"expression": expression, "returnByValue": true, "awaitPromise": true})
	result, _ := r["result"].(map[string]any)
	return result["value"]
}

// await waits for the frame in which an expression is true. One that throws is not
// yet true.
func (b *browser) await(expression string) {
	b.t.Helper()
	const frames = `new Promise(came => {
	const end = performance.now() + 30000
	let why
	const look = () => {
		try {
			if (%s) return came("")
			why = "it is false"
		} catch (err) {
			why = String(err)
		}
		performance.now() < end ? requestAnimationFrame(look) : came(why)
	}
	look()
})`
	if why := b.eval(fmt.Sprintf(frames, expression)); why != "" {
		b.t.Fatalf("in vain: %s: %v; the page is %v; %s", expression, why, b.eval("document.body.innerText"), b.wrong)
	}
}

func (b *browser) size(width, height int, phone bool) {
	b.call(b.session, "Emulation.setDeviceMetricsOverride", map[string]any{"width": width, "height": height, "deviceScaleFactor": 1, "mobile": phone})
}

func (b *browser) scheme(name string) {
	b.call(b.session, "Emulation.setEmulatedMedia", map[string]any{"features": []map[string]any{{"name": "prefers-color-scheme", "value": name}}})
}

// shot is a PNG of what is seen.
func (b *browser) shot(file string) {
	b.t.Helper()
	r := b.call(b.session, "Page.captureScreenshot", map[string]any{"format": "png"})
	text, _ := r["data"].(string)
	png, err := base64.StdEncoding.DecodeString(text)
	if err == nil {
		err = os.WriteFile(file, png, 0o644)
	}
	if err == nil && len(png) > 200<<10 {
		err = errors.New("it is larger than 200 KiB")
	}
	if err != nil {
		b.t.Errorf("%s: %v", file, err)
	}
}

const pageConfig = `
pools:
  web:
    command: [echo-worker]
    workers: 4
  jobs:
    command: [sh, -c, 'echo "no connection to the database" >&2; sleep 1.2; exit 3']
    workers: 2
    restart: {backoff: 20s}
  cache:
    command: [sh, -c, "exec sleep 100000"]
control:
  listen:
    - {mode: "0600"}
    - {path: DIR/web.sock, mode: "0666", role: viewer, max_role: viewer}
    - {path: DIR/ops.sock, mode: "0666", role: operator, max_role: operator}
`

// servePage starts brood for the page.
func servePage(t *testing.T) (s *server, dir string) {
	t.Helper()
	dir = socketDir(t)
	if err := os.WriteFile(dir+"/brood.yaml", []byte(strings.ReplaceAll(pageConfig, "DIR", dir)), 0o644); err != nil {
		t.Fatal(err)
	}
	s = serveOn(t, filepath.Join(dir, "control.sock"), "-c", dir+"/brood.yaml", "--log-level", "error")
	if r := shell(t, s.socket, "brood health --wait 60s web && brood health --wait 60s cache"); r.code != 0 {
		t.Fatal(r)
	}
	return s, dir
}

// TestStatusPage: a viewer sees everything and has no buttons; what happens shows
// by itself; nothing in it runs that is not its own; it fits a phone.
func TestStatusPage(t *testing.T) {
	s, dir := servePage(t)
	b := browse(t, behindNginx(t, dir+"/web.sock"))
	b.size(1180, 860, false)
	shell(t, s.socket, "for i in 1 2 3 4 5 6 7; do brood send web/$((i % 4 + 1)) echo $i; done")
	b.await(`document.querySelectorAll("tbody tr").length == 7`)
	b.await(`document.getElementById("live").textContent == "live"`)
	b.await(`/web\/3 #1/.test(document.body.innerText) && /4 of 4 ready/.test(document.body.innerText)`)
	b.await(`/exit code 3/.test(document.querySelector("#pools").innerText) && document.querySelectorAll("#events .ev").length > 9`)
	if n := b.eval(`document.querySelectorAll("button").length`); n != 0.0 {
		t.Errorf("a viewer has %v buttons", n)
	}
	b.await(`document.getElementById("health").textContent == "critical" && /^critical/.test(document.title)`)

	// A worker that dies is seen without a reload, and what it says is no markup.
	shell(t, s.socket, `kill -9 $(brood send web/2 pid)`)
	b.await(`/web\/2 #2/.test(document.body.innerText) && /SIGKILL/.test(document.querySelector("#events").innerText)`)
	shell(t, s.socket, `brood send web/2 echo '<b>x</b>'`)
	b.await(`[...document.querySelectorAll("tbody tr")].some(r => /4 of 4/.test(document.body.innerText) && r.innerText.includes("web/2"))`)

	for _, scheme := range []string{"dark", "light"} {
		b.scheme(scheme)
		if scheme == "light" && *screenshot {
			b.shot("../../docs/status-page.png")
		}
	}
	b.size(390, 844, true)
	b.await(`document.documentElement.scrollWidth <= 390`)
	if *screenshot {
		b.scheme("dark")
		b.shot(filepath.Join(os.TempDir(), "brood-phone.png"))
	}
	if len(b.wrong) > 0 {
		t.Errorf("the page complains: %s", b.wrong)
	}
}

// TestStatusPageButtons: an operator restarts by a button.
func TestStatusPageButtons(t *testing.T) {
	_, dir := servePage(t)
	b := browse(t, behindNginx(t, dir+"/ops.sock"))
	b.size(1180, 860, false)
	b.await(`document.querySelectorAll("tbody button").length == 7`)
	b.eval(`window.confirm = () => true; [...document.querySelectorAll("tbody tr")].find(r => r.innerText.includes("web/4")).querySelector("button").click()`)
	b.await(`/web\/4 #2/.test(document.body.innerText)`)
	if len(b.wrong) > 0 {
		t.Errorf("the page complains: %s", b.wrong)
	}
}

// TestForgedRequests: what another site's page has a browser send is refused, and
// no command goes by a link; scripts are not bothered.
func TestForgedRequests(t *testing.T) {
	need(t, "curl")
	s, dir := servePage(t)
	url := behindNginx(t, dir+"/ops.sock")
	host := strings.TrimSuffix(strings.TrimPrefix(url, "http://"), "/ops/brood/")
	for _, tt := range []struct{ args, want string }{
		{"-X POST " + url + "v1/workers/web/1/restart", "20[02]"}, // it may be done by the time of the answer
		{"-X POST -H 'Sec-Fetch-Site: same-origin' " + url + "v1/workers/web/1/restart", "20[02]"},
		{"-X POST -H 'Origin: http://" + host + "' " + url + "v1/workers/web/1/restart", "20[02]"},
		{"-X POST -H 'Sec-Fetch-Site: cross-site' " + url + "v1/workers/web/1/restart", "403"},
		{"-X POST -H 'Sec-Fetch-Site: same-site' " + url + "v1/workers/web/1/restart", "403"},
		{"-X POST -H 'Origin: http://evil.example' " + url + "v1/workers/web/1/restart", "403"},
		{"-X POST -H 'Origin: null' -d '[]' " + url + "v1/pools/web/commands/echo", "403"},
		{"-H 'Sec-Fetch-Site: cross-site' " + url + "v1/status", "200"},
		{url + "v1/workers/web/1/restart", "405"},
		{"-H 'Sec-Fetch-Site: cross-site' " + url + "echo", "403"},
		{"-H 'Referer: http://evil.example/' " + url + "echo", "403"},
		{"-H 'Accept-Language: en' " + url + "echo", "403"},
	} {
		r := shell(t, s.socket, "curl -s -o /dev/null -w '%{http_code}' "+tt.args)
		if !regexp.MustCompile("^" + tt.want + "$").MatchString(r.stdout) {
			t.Errorf("curl %s: %s, want %s", tt.args, r.stdout, tt.want)
		}
	}
}
