package main

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// What is said of a flag that is wrong.

// local has a command refuse --host, which is every command's: what it does is done
// on this machine.
func local(cmd *cobra.Command) *cobra.Command {
	host := cmd.Flags().String("host", "", "")
	_ = cmd.Flags().MarkHidden("host") // it is there
	cmd.PreRunE = func(*cobra.Command, []string) error {
		if *host == "" {
			return nil
		}
		return usagef("--host %s: brood %s is done on this machine; to have it done on another, call it there, by ssh", *host, cmd.Name())
	}
	return cmd
}

// flagError says what is wrong with a flag, and what to write instead. What asks for
// JSON behind it has not been read, and is not to be missed.
func flagError(args []string) func(*cobra.Command, error) error {
	return func(cmd *cobra.Command, err error) error {
		if asksJSON(args) && cmd.Flags().Lookup("output") != nil {
			_ = cmd.Flags().Set("output", "json") // it takes any text
		}
		hint := "see `" + cmd.CommandPath() + " --help`"
		var unknown *pflag.NotExistError
		var value *pflag.InvalidValueError
		switch {
		case errors.As(err, &unknown) && unknown.GetSpecifiedShortnames() == "":
			if near := nearestFlag(cmd, unknown.GetSpecifiedName()); near != "" {
				hint = "did you mean --" + near + "?"
			}
		case errors.As(err, &value):
			err = valueError(value, args)
		}
		return usagef("%v; %s", err, hint)
	}
}

// valueError is err in the words of the other errors of flags.
func valueError(err *pflag.InvalidValueError, args []string) error {
	flag := "--" + err.GetFlag().Name
	short := "-" + err.GetFlag().Shorthand
	if len(short) > 1 && slices.ContainsFunc(args, func(arg string) bool { return strings.HasPrefix(arg, short) }) {
		flag = short
	}
	switch err.GetFlag().Value.Type() {
	case "int", "int64":
		return fmt.Errorf("%s %s: write a number", flag, err.GetValue())
	case "duration":
		return fmt.Errorf("%s %s: write a time such as 30s", flag, err.GetValue())
	}
	return err
}

// nearestFlag is the flag that name was most likely meant to be; empty: none is near.
// Cobra compares names of commands only.
func nearestFlag(cmd *cobra.Command, name string) string {
	names := &cobra.Command{SuggestionsMinimumDistance: 2}
	cmd.Flags().VisitAll(func(f *pflag.Flag) {
		if !f.Hidden {
			names.AddCommand(&cobra.Command{Use: f.Name, Run: func(*cobra.Command, []string) {}})
		}
	})
	if near := names.SuggestionsFor(name); len(near) > 0 {
		return near[0]
	}
	return ""
}

// asksJSON reports whether -o json is among the flags, in any of its spellings.
func asksJSON(args []string) bool {
	for i, arg := range args {
		switch {
		case arg == "--":
			return false
		case arg == "-o", arg == "--output":
			if i+1 < len(args) && args[i+1] == "json" {
				return true
			}
		case arg == "-ojson", arg == "-o=json", arg == "--output=json":
			return true
		}
	}
	return false
}
