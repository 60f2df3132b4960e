// Package man makes manual pages, man(7), of the commands as cobra knows them,
// and of the configuration as its JSON Schema describes it.
package man

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// Section is one with a title of its own, in text as Escape takes it: empty
// lines part paragraphs, lines that begin with two spaces stay as they are.
type Section struct{ Title, Text string }

// Book is what all pages have in common.
type Book struct {
	Date     time.Time
	Version  string
	Overview []Section // of the root's page, after its commands
	Every    []Section // of every other command's page
}

// Write writes a page for each command that is not hidden into dir: brood.1,
// brood-send.1 and so on. It returns their paths.
func (b Book) Write(dir string, root *cobra.Command) (paths []string, err error) {
	write := func(name, text string) {
		path := filepath.Join(dir, name)
		if err == nil {
			err = os.WriteFile(path, []byte(text), 0o644)
			paths = append(paths, path)
		}
	}
	write(root.Name()+".1", b.root(root))
	for _, c := range visible(root) {
		write(pageName(c)+".1", b.command(c))
	}
	return paths, err
}

func visible(root *cobra.Command) (all []*cobra.Command) {
	for _, c := range root.Commands() {
		if !c.Hidden && c.Name() != "help" {
			all = append(all, c)
		}
	}
	return all
}

func pageName(c *cobra.Command) string { return strings.ReplaceAll(c.CommandPath(), " ", "-") }

func (b Book) begin(name string, section int) *page {
	p := &page{}
	p.line(`.TH "%s" "%d" "%s" "brood %s" "%s"`, Escape(strings.ToUpper(name)), section, b.Date.UTC().Format("2006-01-02"),
		Escape(b.Version), map[int]string{1: "User Commands", 5: "File Formats"}[section])
	return p
}

func (b Book) root(root *cobra.Command) string {
	p := b.begin(root.Name(), 1)
	p.head("NAME")
	p.line(`%s \- %s`, root.Name(), Escape(lower(root.Short)))
	p.head("SYNOPSIS")
	p.line(`\fB%s\fR \fICOMMAND\fR [\fIOPTIONS\fR] [\fIARGUMENTS\fR]`, root.Name())
	p.head("DESCRIPTION")
	p.text(root.Long)
	p.head("COMMANDS")
	for _, c := range visible(root) {
		p.item(fmt.Sprintf(`\fB%s\fR(1)`, Escape(pageName(c))), c.Short)
	}
	p.head("OPTIONS")
	p.flags(root.PersistentFlags())
	p.sections(b.Overview)
	p.head("SEE ALSO")
	refs := []string{`\fBbrood.yaml\fR(5)`}
	for _, c := range visible(root) {
		refs = append(refs, fmt.Sprintf(`\fB%s\fR(1)`, Escape(pageName(c))))
	}
	p.line("%s", strings.Join(refs, ",\n"))
	return p.String()
}

func (b Book) command(c *cobra.Command) string {
	p := b.begin(pageName(c), 1)
	p.head("NAME")
	p.line(`%s \- %s`, Escape(pageName(c)), Escape(lower(c.Short)))
	p.head("SYNOPSIS")
	p.line(`%s`, synopsis(c))
	p.head("DESCRIPTION")
	if c.Long != "" {
		p.text(c.Long)
	} else {
		p.text(c.Short + ".")
	}
	if c.LocalNonPersistentFlags().HasAvailableFlags() {
		p.head("OPTIONS")
		p.flags(c.LocalNonPersistentFlags())
	}
	p.head("OPTIONS OF EVERY COMMAND")
	p.flags(c.InheritedFlags())
	if c.Example != "" {
		p.head("EXAMPLES")
		p.text(c.Example)
	}
	p.sections(b.Every)
	p.head("SEE ALSO")
	p.line(`\fBbrood\fR(1), \fBbrood.yaml\fR(5)`)
	return p.String()
}

// synopsis is the line of usage with the command in bold. A `|` in it stands
// between two forms.
func synopsis(c *cobra.Command) string {
	forms := strings.Split(c.Use, " | ")
	for i, form := range forms {
		form = strings.TrimPrefix(form, c.Root().Name()+" ")
		name, rest, _ := strings.Cut(form, " ")
		line := fmt.Sprintf(`\fB%s %s\fR`, Escape(c.Root().Name()), Escape(name))
		if c.HasAvailableLocalFlags() {
			line += ` [\fIOPTIONS\fR]`
		}
		if rest != "" {
			line += " " + Escape(rest)
		}
		forms[i] = line
	}
	return strings.Join(forms, "\n.br\n")
}

func lower(s string) string {
	if len(s) > 1 && s[1] >= 'a' { // no abbreviation
		return strings.ToLower(s[:1]) + s[1:]
	}
	return s
}

// page collects roff.
type page struct{ strings.Builder }

func (p *page) line(format string, args ...any) { fmt.Fprintf(p, format+"\n", args...) }

func (p *page) head(title string) { p.line(`.SH %s`, Escape(title)) }

func (p *page) sections(all []Section) {
	for _, s := range all {
		p.head(s.Title)
		p.text(s.Text)
	}
}

// item is a word with what it means indented below.
func (p *page) item(roff, meaning string) {
	p.line(".TP\n%s\n%s", roff, Escape(meaning))
}

func (p *page) flags(set *pflag.FlagSet) {
	set.VisitAll(func(f *pflag.Flag) {
		if f.Hidden {
			return
		}
		name := `\fB\-\-` + Escape(f.Name) + `\fR`
		if f.Shorthand != "" {
			name = `\fB\-` + Escape(f.Shorthand) + `\fR, ` + name
		}
		value, usage := pflag.UnquoteUsage(f)
		if value != "" {
			form := ` \fI%s\fR`
			if f.NoOptDefVal != "" { // it may be left out
				form = `[=\fI%s\fR]`
			}
			name += fmt.Sprintf(form, Escape(strings.ToUpper(value)))
		}
		if f.DefValue != "" && f.DefValue != "false" && f.DefValue != "0" && f.DefValue != "0s" && !strings.Contains(usage, "(default") {
			usage += " (default " + f.DefValue + ")"
		}
		p.item(name, sentence(usage))
	})
}

func sentence(s string) string {
	if s == "" || strings.HasSuffix(s, ".") {
		return s
	}
	return strings.ToUpper(s[:1]) + s[1:] + "."
}

// text is paragraphs and, indented by two spaces, what stays as it is.
func (p *page) text(s string) {
	verbatim, first := false, true
	end := func() {
		if verbatim {
			p.line(".fi\n.RE")
			verbatim = false
		}
	}
	gap := false // an empty line was passed
	for _, line := range strings.Split(strings.Trim(s, "\n"), "\n") {
		switch {
		case strings.TrimSpace(line) == "":
			gap = true
			continue
		case strings.HasPrefix(line, "  "):
			if !verbatim {
				if !first {
					p.line(".PP")
				}
				p.line(".RS 4\n.nf")
				verbatim = true
			} else if gap {
				p.line("")
			}
			p.line("%s", Escape(line[2:]))
		default:
			end()
			if gap {
				p.line(".PP")
			}
			p.line("%s", Escape(line))
		}
		gap, first = false, false
	}
	end()
}

var escapes = strings.NewReplacer(`\`, `\e`, "-", `\-`, "…", "...", "×", "x", "→", "->", "–", `\-`, "`", `\(ga`, "'", `\(aq`, "^", `\(ha`, "~", `\(ti`, "\u00b1", "+-", "µ", "u")

// Escape is text as roff prints it. A line must not begin with a control
// character.
func Escape(s string) string {
	lines := strings.Split(escapes.Replace(s), "\n")
	for i, line := range lines {
		if strings.HasPrefix(line, ".") {
			lines[i] = `\&` + line
		}
	}
	return strings.Join(lines, "\n")
}
