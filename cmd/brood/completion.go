package main

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"example.com/brood/cmd/brood/internal/show"
	"example.com/brood/cmd/brood/internal/term"
	"example.com/brood/supervisor"
	"example.com/brood/supervisor/control/api"
)

// completionCommand prints what a shell needs to complete brood's words.
func completionCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "completion bash|zsh|fish",
		Short: "Print the completion script for a shell",
		Long: `Print the completion script for a shell. Targets and the names of commands are
asked of the supervisor that runs, and are not offered where none does.

  bash   source <(brood completion bash)
         or brood completion bash >/etc/bash_completion.d/brood
  zsh    brood completion zsh >"${fpath[1]}/_brood"
  fish   brood completion fish >~/.config/fish/completions/brood.fish`,
		ValidArgs: []string{"bash", "zsh", "fish"},
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) != 1 {
				return wrongCount(len(args), "`brood completion bash`, or zsh or fish")
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			root, w := cmd.Root(), cmd.OutOrStdout()
			switch args[0] {
			case "bash":
				return root.GenBashCompletionV2(w, true)
			case "zsh":
				return root.GenZshCompletion(w)
			case "fish":
				return root.GenFishCompletion(w, true)
			}
			return usagef("%q: write bash, zsh or fish", args[0])
		},
	}
}

// patience is how long a person who has pressed TAB is kept.
const patience = 300 * time.Millisecond

// live is the supervisor's status for completion; none if it does not answer.
func (g *globals) live() api.Status {
	c, err := g.client()
	if err != nil {
		return api.Status{}
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	st, err := c.Status(ctx)
	if err != nil {
		return api.Status{}
	}
	return st
}

// completeTargets completes the first argument as a target.
func completeTargets(g *globals, cmd *cobra.Command) {
	cmd.ValidArgsFunction = func(_ *cobra.Command, args []string, _ string) ([]cobra.Completion, cobra.ShellCompDirective) {
		if len(args) > 0 {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		return g.targets(), cobra.ShellCompDirectiveNoFileComp
	}
}

// completePools completes the first argument as a pool.
func completePools(g *globals, cmd *cobra.Command) {
	cmd.ValidArgsFunction = func(_ *cobra.Command, args []string, _ string) ([]cobra.Completion, cobra.ShellCompDirective) {
		var all []cobra.Completion
		if len(args) == 0 {
			for _, p := range g.live().Pools {
				all = append(all, completion(p.Name, fmt.Sprintf("%d of %d ready", p.Ready, p.Workers)))
			}
		}
		return all, cobra.ShellCompDirectiveNoFileComp
	}
}

func (g *globals) targets() (all []cobra.Completion) {
	for _, p := range g.live().Pools {
		all = append(all, completion(p.Name, fmt.Sprintf("pool, %d of %d ready", p.Ready, p.Workers)))
		for _, x := range p.Slots {
			all = append(all, completion(x.Target, show.State(x)))
		}
	}
	return all
}

// completeSend completes the target, then the names of the commands that it
// has; words after that are the worker's.
func completeSend(g *globals, cmd *cobra.Command) {
	cmd.ValidArgsFunction = func(_ *cobra.Command, args []string, _ string) ([]cobra.Completion, cobra.ShellCompDirective) {
		switch len(args) {
		case 0:
			return g.targets(), cobra.ShellCompDirectiveNoFileComp
		case 1:
			return g.commands(args[0]), cobra.ShellCompDirectiveNoFileComp
		}
		return nil, cobra.ShellCompDirectiveDefault
	}
}

func (g *globals) commands(target string) (all []cobra.Completion) {
	t, err := supervisor.ParseTarget(target)
	if err != nil {
		return nil
	}
	seen := map[string]bool{}
	pools := g.live().Pools
	for _, p := range pools {
		if t.Pool != p.Name && t.Pool != "*" && (t.Pool != "" || len(pools) > 1) {
			continue
		}
		for _, x := range p.Slots {
			if t.Slot != 0 && t.Slot != x.Slot {
				continue
			}
			for _, c := range x.Commands {
				if !seen[c.Name] {
					seen[c.Name] = true
					all = append(all, completion(c.Name, c.Help))
				}
			}
		}
	}
	return all
}

// completion is a word and what it means, in one line.
func completion(word, meaning string) cobra.Completion {
	if meaning == "" {
		return word
	}
	return cobra.CompletionWithDesc(word, term.Printable(meaning))
}
