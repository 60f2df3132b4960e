package main

import (
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"example.com/brood/cmd/brood/internal/convert"
	"example.com/brood/supervisor/config"
)

// initText is the file that init writes; initPool fills the program in.
//
//go:embed init.yaml
var initText string

func initCommand() *cobra.Command {
	var from, name string
	var force bool
	cmd := &cobra.Command{
		Use:   "init [-c FILE] [--from FILE] [-- COMMAND [ARGS…]]",
		Short: "Write a configuration to begin from, or convert another supervisor's",
		Long: `Write a commented brood.yaml to begin from, with COMMAND in it if one is given.

--from converts supervisord.conf (and what it includes), a Procfile, or PM2's
ecosystem.config.json. What has no counterpart is said in a comment with the line
it came from. -c - writes to standard output.`,
		Example: "  brood init -- ./server --port 8080\n  brood init --from /etc/supervisor/supervisord.conf -c -",
		RunE: func(cmd *cobra.Command, args []string) error {
			path, _ := cmd.Flags().GetString("config")
			text, err := initial(from, name, args)
			if err != nil {
				return &coded{exitUsage, err}
			}
			if path == "-" {
				_, err := fmt.Fprint(cmd.OutOrStdout(), text)
				return err
			}
			if err := writeNew(path, text, force); err != nil {
				return err
			}
			fmt.Fprintf(cmd.OutOrStdout(), "%s is written; `brood run -c %s` runs it\n", path, path)
			if _, err := config.Load(path); err != nil {
				return &coded{exitUsage, fmt.Errorf("this machine has something against it yet:\n%w", err)}
			}
			return nil
		},
	}
	cmd.Flags().StringP("config", "c", defaultConfig, "the file to write; - is standard output")
	cmd.Flags().StringVar(&from, "from", "", "convert this file")
	cmd.Flags().StringVar(&name, "name", "main", "what the pool is called")
	cmd.Flags().BoolVar(&force, "force", false, "write over a file that is there")
	return cmd
}

// initial is the text of the new file.
func initial(from, name string, command []string) (text string, err error) {
	if from != "" {
		if len(command) > 0 {
			return "", errors.New("--from and a command are two beginnings; give one of them")
		}
		if text, err = convert.File(from); err != nil {
			return "", err
		}
	} else if text, err = initPool(name, command); err != nil {
		return "", err
	}
	if from == "" { // a strange name, say; what was converted is written all the same, to be put right
		_, err = config.Parse(defaultConfig, []byte(text))
	}
	return text, err
}

func initPool(name string, command []string) (string, error) {
	text := strings.Replace(initText, "\n  main:\n", "\n  "+name+":\n", 1)
	if len(command) == 0 {
		return text, nil
	}
	quoted := make([]string, len(command))
	for i, word := range command {
		b, err := json.Marshal(word)
		if err != nil {
			return "", err
		}
		quoted[i] = string(b)
	}
	return strings.Replace(text, `["sleep", "infinity"]`, "["+strings.Join(quoted, ", ")+"]", 1), nil
}

// writeNew writes a file that is not there, or with force one that is.
func writeNew(path, text string, force bool) error {
	flags := os.O_WRONLY | os.O_CREATE | os.O_EXCL
	if force {
		flags = os.O_WRONLY | os.O_CREATE | os.O_TRUNC
	}
	f, err := os.OpenFile(path, flags, 0o644)
	if errors.Is(err, fs.ErrExist) {
		return usagef("%s is there already; --force writes over it, -c names another", path)
	}
	if err != nil {
		return err
	}
	_, err = f.WriteString(text)
	return errors.Join(err, f.Close())
}
