package main

import (
	"errors"
	"fmt"
	"runtime"

	"github.com/spf13/cobra"

	"example.com/brood/ipc"
	"example.com/brood/supervisor/config"
	"example.com/brood/supervisor/control/api"
)

func checkCommand() *cobra.Command {
	var path string
	var out output
	cmd := &cobra.Command{
		Use:               "check",
		Short:             "Read the configuration and say all that is wrong with it",
		Args:              exactArgs(0, "brood check -c brood.yaml"),
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := out.check(); err != nil {
				return err
			}
			f, err := config.Load(path)
			if out.json() {
				return checkJSON(cmd, f, err)
			}
			if err != nil {
				return &coded{exitUsage, err}
			}
			for _, p := range f.Pools {
				fmt.Fprintf(cmd.OutOrStdout(), "%s: pool %s, %d × %q\n", path, p.Name, max(p.Workers, 1), p.Command)
			}
			return nil
		},
	}
	cmd.Flags().StringVarP(&path, "config", "c", defaultConfig, "the configuration file")
	out.flag(cmd)
	return cmd
}

// checked is what check -o json prints.
type checked struct {
	OK       bool          `json:"ok"`
	Pools    []string      `json:"pools,omitempty"`
	Problems []checkedLine `json:"problems,omitempty"`
}

type checkedLine struct {
	File    string `json:"file"`
	Line    int    `json:"line,omitempty"`
	Column  int    `json:"column,omitempty"`
	Path    string `json:"path,omitempty"`
	Problem string `json:"problem"`
}

func checkJSON(cmd *cobra.Command, f *config.File, err error) error {
	var c checked
	if err == nil {
		c.OK = true
		for _, p := range f.Pools {
			c.Pools = append(c.Pools, p.Name)
		}
		return printJSON(cmd.OutOrStdout(), c)
	}
	c.Problems = problemLines(err)
	if perr := printJSON(cmd.OutOrStdout(), c); perr != nil {
		return perr
	}
	return &coded{exitUsage, nil}
}

// problemLines takes a joined error apart.
func problemLines(err error) []checkedLine {
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		var all []checkedLine
		for _, e := range joined.Unwrap() {
			all = append(all, problemLines(e)...)
		}
		return all
	}
	var e *config.Error
	if !errors.As(err, &e) {
		return []checkedLine{{Problem: err.Error()}}
	}
	return []checkedLine{{e.File, e.Line, e.Column, e.Path, e.Problem}}
}

func localVersion() api.Version {
	return api.Version{
		Version: versionText(), Protocol: [2]int{ipc.Version, ipc.Version},
		Go: runtime.Version(), OS: runtime.GOOS, Arch: runtime.GOARCH,
	}
}
