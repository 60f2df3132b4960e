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

	"example.com/brood/supervisor"
)

// checkSystem looks for what a file names: directories, programs and a group.
// It says nothing of keys that are wrong already.
func (src *source) checkSystem(f *File) {
	for _, p := range f.Pools {
		path := "pools." + p.Name
		dirIsThere := src.check(path+".dir", checkDir(p.Dir))
		if len(p.Command) == 0 || isRelative(p.Command[0]) && !dirIsThere {
			continue
		}
		src.check(path+".command", checkProgram(p))
	}
	src.check("control.group", checkGroup(f.Control.Group))
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

// checkProgram finds the program as the worker's spawn will.
func checkProgram(p supervisor.Pool) *finding {
	program := p.Command[0]
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

// searchPath is the PATH of the pool's workers.
func searchPath(p supervisor.Pool) (list string) {
	for _, kv := range p.Environment() {
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
