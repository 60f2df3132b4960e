package config

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"example.com/brood/supervisor/internal/listen"
	"example.com/brood/supervisor/internal/process"
)

// checkSystem looks for what a file names: directories, files, programs, users
// and groups. It says nothing of keys that are wrong already.
func (src *source) checkSystem(f *File) {
	for _, p := range f.Pools {
		src.checkPool("pools."+p.Name, p)
	}
	src.checkAccess(f.Control)
}

func (src *source) checkPool(path string, p pool) {
	dirIsThere := src.check(path+".dir", checkDir(p.Dir))
	pathIsKnown := src.checkEnvFiles(path+".env_file", p)
	src.checkAccount(path, p)
	for name, text := range p.Listen {
		src.check(path+".listen."+name, checkSocket(text))
	}
	for name := range p.Limits {
		if _, ok := process.LimitNames[name]; !ok {
			src.check(path+".limits."+name, found(nil, "this system has no such limit; leave the key out"))
		}
	}
	program := func(path string, words []string) {
		switch {
		case len(words) == 0 || isRelative(words[0]) && !dirIsThere:
		case !strings.Contains(words[0], "/") && !pathIsKnown:
		default:
			src.check(path, checkProgram(p, words[0]))
		}
	}
	program(path+".command", p.Command)
	program(path+".ready.exec", p.Ready.Exec)
	for name, c := range p.Commands {
		program(path+".commands."+name+".exec", c.Exec)
	}
}

// checkEnvFiles tells whether the PATH of the workers is known: one of the files
// may set it.
func (src *source) checkEnvFiles(path string, p pool) bool {
	all := true
	for i, file := range p.EnvFile {
		at := fmt.Sprintf("%s[%d]", path, i)
		if _, isList := src.places[at]; !isList {
			at = path
		}
		all = src.check(at, checkEnvFile(file)) && all
	}
	_, own := p.Env["PATH"]
	return all || own
}

// checkAccount blames a missing group, then, in all else, the user.
func (src *source) checkAccount(path string, p pool) {
	group := p.Group
	if !src.check(path+".group", checkGroup(group)) {
		group = ""
	}
	key := ".user"
	if p.User == "" {
		key = ".group"
	}
	src.check(path+key, checkUser(p.User, group))
}

// check reports what is wrong at path, unless it is reported already, and tells
// whether all is well there.
func (src *source) check(path string, f *finding) bool {
	if src.isBlamed(path) {
		return false
	}
	if f != nil {
		src.report(src.placeOf(path), path, "%s", f.problem).Err = f.err
	}
	return f == nil
}

// finding is something wrong on this system; nil: nothing.
type finding struct {
	problem string
	err     error // the system's own; may be nil
}

func found(err error, format string, args ...any) *finding {
	return &finding{fmt.Sprintf(format, args...), err}
}

func checkDir(dir string) *finding {
	if dir == "" {
		return nil
	}
	info, err := os.Stat(dir)
	switch {
	case err != nil:
		return found(err, "%q: %s%s", dir, cause(err), unexpanded(dir))
	case !info.IsDir():
		return found(nil, "%q is not a directory", dir)
	}
	return nil
}

// unexpanded is a hint for who expects a shell's work.
func unexpanded(path string) string {
	if strings.HasPrefix(path, "~") || strings.Contains(path, "$") {
		return "; neither ~ nor $ is expanded, write the path in full"
	}
	return ""
}

func isRelative(program string) bool {
	return strings.Contains(program, "/") && !filepath.IsAbs(program)
}

// checkProgram finds a program as the worker's spawn will.
func checkProgram(p pool, program string) *finding {
	switch {
	case isRelative(program):
		return checkExecutable(filepath.Join(p.Dir, program))
	case filepath.IsAbs(program):
		return checkExecutable(program)
	}
	list := searchPath(p)
	var almost *finding // a file of that name which cannot be run
	for _, dir := range filepath.SplitList(list) {
		if !filepath.IsAbs(dir) {
			continue // no spawn looks there either
		}
		f := checkExecutable(filepath.Join(dir, program))
		if f == nil {
			return nil
		}
		if almost == nil && !errors.Is(f.err, fs.ErrNotExist) {
			almost = f
		}
	}
	if almost != nil {
		return almost
	}
	if checkExecutable(filepath.Join(p.Dir, program)) == nil {
		return found(fs.ErrNotExist, "there is no %q in the worker's PATH (%s); for the one in its directory write %q", program, list, "./"+program)
	}
	return found(fs.ErrNotExist, "there is no %q in the worker's PATH (%s); write its path, or set PATH in env%s", program, list, unexpanded(program))
}

// searchPath is the PATH of the pool's workers. A file of variables that can't
// be read is none.
func searchPath(p pool) (list string) {
	env, err := p.Environment()
	if err != nil {
		p.EnvFile = nil
		env, _ = p.Environment() // nothing is read
	}
	for _, kv := range env {
		if v, ok := strings.CutPrefix(kv, "PATH="); ok {
			list = v // the last one counts
		}
	}
	return list
}

func checkExecutable(file string) *finding {
	info, err := os.Stat(file)
	switch {
	case err != nil:
		return found(err, "%q: %s%s", file, cause(err), unexpanded(file))
	case info.IsDir():
		return found(nil, "%q is a directory, not a program", file)
	case !info.Mode().IsRegular():
		return found(nil, "%q is not a file, and so no program", file)
	case info.Mode()&0o111 == 0:
		return found(fs.ErrPermission, "%q is not executable; chmod +x it", file)
	}
	if err := unix.Access(file, unix.X_OK); err != nil {
		return found(err, "%q cannot be executed by this user: %v", file, err)
	}
	return nil
}

// checkEnvFile reads a file of variables as the spawn will.
func checkEnvFile(file string) *finding {
	info, err := os.Stat(file)
	switch {
	case err != nil:
		return found(err, "%q: %s%s", file, cause(err), unexpanded(file))
	case !info.Mode().IsRegular():
		return found(nil, "%q is not a file", file)
	}
	if _, err := (pool{EnvFile: []string{file}}).Environment(); err != nil {
		return found(err, "%s", printable(err.Error()))
	}
	return nil
}

// checkUserName: a number needs no entry.
func checkUserName(name string) *finding {
	if isNumber(name) {
		return nil
	}
	_, err := user.Lookup(name)
	if unknown := user.UnknownUserError(""); errors.As(err, &unknown) {
		return found(err, "there is no user %q on this system", name)
	}
	if err != nil {
		return found(err, "the user %q cannot be looked up: %v", name, err)
	}
	return nil
}

// checkAudit: it is made if it is not there, so its directory must be.
func checkAudit(file string) *finding {
	info, err := os.Stat(file)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return checkDir(filepath.Dir(file))
	case err != nil:
		return found(err, "%q: %s%s", file, cause(err), unexpanded(file))
	case !info.Mode().IsRegular():
		return found(nil, "%q is not a file", file)
	}
	return nil
}

// checkSocket is about what a unix socket needs: its directory and its owners.
func checkSocket(text string) *finding {
	spec, err := listen.Parse(text)
	if err != nil || spec.Network != "unix" {
		return nil
	}
	if f := checkDir(filepath.Dir(spec.Path)); f != nil {
		return f
	}
	if f := checkGroup(spec.Group); f != nil {
		return f
	}
	if spec.User == "" || isNumber(spec.User) {
		return nil
	}
	_, err = user.Lookup(spec.User)
	if unknown := user.UnknownUserError(""); errors.As(err, &unknown) {
		return found(err, "there is no user %q on this system", spec.User)
	}
	return nil
}

// checkUser asks what the spawn will ask.
func checkUser(name, group string) *finding {
	_, err := process.LookupUser(name, group)
	var unknown user.UnknownUserError
	switch {
	case errors.As(err, &unknown):
		return found(err, "there is no user %q on this system", name)
	case err != nil:
		return found(err, "%s", printable(err.Error()))
	}
	return nil
}

func checkGroup(group string) *finding {
	if _, err := strconv.ParseUint(group, 10, 31); group == "" || err == nil {
		return nil
	}
	_, err := user.LookupGroup(group)
	var unknown user.UnknownGroupError
	switch {
	case errors.As(err, &unknown):
		return found(err, "there is no group %q on this system", group)
	case err != nil:
		return found(err, "the group %q cannot be looked up: %v", group, err)
	}
	return nil
}
