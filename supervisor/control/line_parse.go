package control

import (
	"fmt"
	"strings"
	"time"
	"unicode/utf8"

	"example.com/brood/supervisor/control/api"
)

// The grammar of a line (docs/line.md):
//
//	line    = [ command *( ";" command ) ] LF          a "#" in front makes it a comment
//	command = *( "json" / "timeout" word ) [ "@" target ] word *( word )
//	word    = 1*( char / escape / "'" any "'" / `"` *( any / escape ) `"` )
//	escape  = "\" ( "n" / "r" / "t" / punctuation / space )
//
// Words are separated by spaces and tabs.

// lineCommand is one command of a line.
type lineCommand struct {
	JSON    bool          // the answer is to be JSON
	Timeout time.Duration // for a command to a worker; 0: none was named
	Target  string        // with its @; empty: it is for the supervisor
	Words   []string      // at least one
}

// parseLine reads a line without its end. Of a line with a fault nothing is done.
func parseLine(line string) ([]lineCommand, error) {
	if strings.HasPrefix(strings.TrimLeft(line, " \t"), "#") {
		return nil, nil
	}
	var commands []lineCommand
	for rest, more := line, true; more; {
		var words []string
		var err error
		if words, rest, more, err = splitCommand(rest); err != nil {
			return nil, err
		}
		if len(words) == 0 {
			continue // as after a last ";"
		}
		c, err := readCommand(words)
		if err != nil {
			return nil, err
		}
		commands = append(commands, c)
	}
	return commands, nil
}

// readCommand tells the words that say how from those that say what.
func readCommand(words []string) (c lineCommand, err error) {
	said := strings.Join(words, " ")
	for len(words) > 0 && c.Target == "" {
		switch {
		case words[0] == "json":
			c.JSON = true
		case words[0] == "timeout" && len(words) == 1:
			return c, failf(api.CodeBadRequest, "timeout goes before a command and takes a duration; write, for instance, timeout 5s @web/2 flush all")
		case words[0] == "timeout":
			if c.Timeout, err = time.ParseDuration(words[1]); err != nil || c.Timeout <= 0 || c.Timeout > maxWait {
				return c, failf(api.CodeBadRequest, "timeout %s: write a duration of at most %v, such as 5s or 250ms", words[1], maxWait)
			}
			words = words[1:]
		case strings.HasPrefix(words[0], "@"):
			c.Target = words[0]
		default:
			c.Words = words
			return c, nil
		}
		words = words[1:]
	}
	if len(words) == 0 && c.Target != "" {
		return c, failf(api.CodeBadRequest, "what is %s to do? write, for instance, %s flush all", c.Target, c.Target)
	}
	if len(words) == 0 {
		return c, failf(api.CodeBadRequest, "there is no command after %q", said)
	}
	c.Words = words
	return c, nil
}

// splitCommand takes the words of the first command off line; more says that a
// ";" came after it.
func splitCommand(line string) (words []string, rest string, more bool, err error) {
	var word []byte
	inWord := false
	end := func() {
		if inWord {
			words = append(words, string(word))
			word, inWord = word[:0], false
		}
	}
	for i := 0; i < len(line); i++ {
		switch b := line[i]; b {
		case ' ', '\t':
			end()
		case ';':
			end()
			return words, line[i+1:], true, nil
		case '\\':
			if word, i, err = appendEscape(word, line, i); err != nil {
				return nil, "", false, err
			}
			inWord = true
		case '\'', '"':
			if word, i, err = appendQuoted(word, line, i); err != nil {
				return nil, "", false, err
			}
			inWord = true
		default:
			word, inWord = append(word, b), true
		}
	}
	end()
	return words, "", false, nil
}

// appendEscape reads the escape at line[i]; it returns the place of its last
// byte. A letter that stands for nothing is a fault, so that it may come to stand
// for something.
func appendEscape(word []byte, line string, i int) ([]byte, int, error) {
	if i++; i == len(line) {
		return nil, 0, failf(api.CodeBadRequest, `the line ends in a backslash; write \\ for a backslash and \n for a new line`)
	}
	b := line[i]
	switch {
	case b == 'n':
		b = '\n'
	case b == 'r':
		b = '\r'
	case b == 't':
		b = '\t'
	case 'a' <= b|0x20 && b|0x20 <= 'z', '0' <= b && b <= '9':
		return nil, 0, failf(api.CodeBadRequest, `there is no escape \%c; write \\ for a backslash`, b)
	}
	return append(word, b), i, nil
}

// appendQuoted reads the quoted part that begins at line[i]; it returns the place
// of the closing quote.
func appendQuoted(word []byte, line string, i int) (_ []byte, _ int, err error) {
	quote, from := line[i], i
	for i++; i < len(line); i++ {
		switch {
		case line[i] == quote:
			return word, i, nil
		case line[i] == '\\' && quote == '"':
			if word, i, err = appendEscape(word, line, i); err != nil {
				return nil, 0, err
			}
		default:
			word = append(word, line[i])
		}
	}
	return nil, 0, failf(api.CodeBadRequest, `the quote %c at byte %d has no end; write \%c for one that is no quote`, quote, from+1, quote)
}

// badByte says what makes b, a part of a line, no text, or is empty. A rune may
// be cut off at its end.
func badByte(b []byte) string {
	for _, c := range b {
		switch {
		case c == 0:
			return "a NUL byte"
		case c < ' ' && c != '\t' && c != '\r' && c != '\n', c == 0x7f:
			return fmt.Sprintf("the control character 0x%02x", c)
		case c == 0xc0, c == 0xc1, c > 0xf4: // never in UTF-8
			return fmt.Sprintf("the byte 0x%02x, which is not UTF-8", c)
		}
	}
	return ""
}

// badLine is badByte of a whole line.
func badLine(line []byte) string {
	if bad := badByte(line); bad != "" {
		return bad
	}
	if !utf8.Valid(line) {
		return "bytes that are not UTF-8"
	}
	return ""
}
