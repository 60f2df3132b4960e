package main

import (
	"os/exec"
	"runtime"
	"runtime/debug"
	"strings"
)

// version is what a peer is a version of.
func version(p peer) string {
	switch p.key {
	case "ttrpc":
		return module("github.com/containerd/ttrpc")
	case "grpc":
		return module("google.golang.org/grpc")
	case "plugin":
		return module("github.com/hashicorp/go-plugin")
	case "bare", "brood", "broodgo", "broodother", "netrpc":
		return runtime.Version()
	}
	out, err := exec.Command(p.needs, "--version").Output()
	if err != nil {
		return "unknown"
	}
	line, _, _ := strings.Cut(string(out), "\n")
	if p.needs == "gcc" { // gcc (who built it) 12.2.0
		return "gcc " + line[strings.LastIndexByte(line, ' ')+1:]
	}
	return line
}

func module(path string) string {
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, m := range info.Deps {
			if m.Path == path {
				return m.Version
			}
		}
	}
	return "unknown"
}
