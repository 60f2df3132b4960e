package main

import "testing"

func TestParse(t *testing.T) {
	got, err := parse([]byte("goos: linux\nBenchmarkRestart-2 \t 1\t 12 ns/op\t 0.5 c-ms\t 1.5 with-1/c\nPASS\n"))
	if err != nil || len(got) != 2 || got[1].Benchmark != "Restart" || got[1].Unit != "with-1/c" || got[1].Value != 1.5 {
		t.Errorf("%+v, %v", got, err)
	}
	if _, err := parse([]byte("PASS\n")); err == nil {
		t.Error("no figures are no error")
	}
}
