package convert

import (
	"errors"
	"strings"
)

// split parts a line into words as sh(1) and Python's shlex do, without
// expanding anything.
func split(line string) ([]string, error) {
	var words []string
	var word strings.Builder
	inside := false // a word, perhaps an empty one
	var quote byte
	for i := 0; i < len(line); i++ {
		c := line[i]
		switch {
		case quote == '\'' && c != '\'', quote == '"' && c != '"' && c != '\\':
			word.WriteByte(c)
		case quote != 0 && c == quote:
			quote = 0
		case c == '\\':
			i++
			if i == len(line) {
				return nil, errors.New("it ends in a backslash")
			}
			if quote == '"' && !strings.ContainsRune("\"\\$`", rune(line[i])) {
				word.WriteByte(c)
			}
			word.WriteByte(line[i])
			inside = true
		case c == '\'' || c == '"':
			quote, inside = c, true
		case c == ' ' || c == '\t' || c == '\n':
			if inside {
				words = append(words, word.String())
				word.Reset()
				inside = false
			}
		default:
			word.WriteByte(c)
			inside = true
		}
	}
	if quote != 0 {
		return nil, errors.New("a quotation in it has no end")
	}
	if inside {
		words = append(words, word.String())
	}
	return words, nil
}

// shellSigns are what makes sh(1) do more than part words.
const shellSigns = "$`|&;<>()*?[]#~{}!\n"

// simple: the line is one program and its arguments to a shell.
func simple(line string) bool {
	return !strings.ContainsAny(line, shellSigns) && !assignment(line)
}

// assignment: the line begins with NAME=value.
func assignment(line string) bool {
	name, _, ok := strings.Cut(strings.Fields(line + " x")[0], "=")
	return ok && name != "" && strings.Trim(name, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_") == ""
}

// shellCommand is a command for a line that a shell read before: its words
// where that comes to the same, else a shell that becomes the program.
func shellCommand(line string) []string {
	if simple(line) {
		if words, err := split(line); err == nil && len(words) > 0 {
			return words
		}
	}
	exec := "exec "
	if assignment(line) {
		exec = "exec env "
	}
	if strings.HasPrefix(line, "exec ") || strings.HasPrefix(line, "cd ") || strings.ContainsAny(line, ";|&\n(") {
		exec = "" // several programs: the shell stays to see to them
	}
	return []string{"sh", "-c", exec + line}
}
