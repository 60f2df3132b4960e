package supervisor

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"sync"

	"example.com/brood/supervisor/handover"
	"example.com/brood/supervisor/internal/listen"
)

// sockets are the listening sockets of all pools, opened once and kept as long as
// a pool has them, whatever it and they are called by then.
type sockets struct {
	mu   sync.Mutex
	open map[string]*listen.Socket // by socketKey
	// lost are those that nobody can reach any more and that others have taken the
	// place of, until settle. Pools whose workers may have one are stale.
	lost  []*listen.Socket
	stale map[string]bool
}

// socketKey names a socket by its address: while a pool moves from one to another
// it has both. Where the kernel chooses the port, no two are the same.
func socketKey(pool, name string, spec listen.Spec) string {
	address, _, _ := strings.Cut(spec.String(), "?")
	if spec.Network != "unix" && spec.Addr.Port() == 0 {
		return pool + "\x00" + name + "\x00" + address
	}
	return address
}

// wanted is a socket that a pool is to have.
type wanted struct {
	pool, name, key string
	spec            listen.Spec
}

func (w wanted) field() string { return "pools." + w.pool + ".listen." + w.name }

// wantedBy are the sockets of pools, which are valid, in their order and that of
// the sockets' names.
func wantedBy(pools ...Pool) (all []wanted) {
	for _, p := range pools {
		for _, name := range slices.Sorted(maps.Keys(p.Listen)) {
			if spec, err := listen.Parse(p.Listen[name]); err == nil {
				all = append(all, wanted{p.Name, name, socketKey(p.Name, name, spec), spec})
			}
		}
	}
	return all
}

// prepare opens what pools need and is not open, or is lost, which anew tells, and
// gives the others the owner and mode that pools want. After an error settle makes
// of it what it was.
func (k *sockets) prepare(pools []Pool) (anew []wanted, err error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	all := wantedBy(pools...)
	fresh := map[string]*listen.Socket{}
	for _, w := range all {
		have := k.open[w.key]
		if have != nil && !have.Lost() {
			continue
		}
		socket, err := listen.Open(w.spec)
		if err != nil {
			for _, s := range fresh {
				s.Close()
			}
			return nil, &FieldError{w.field(), k.whyNot(w, err)}
		}
		fresh[w.key] = socket
		if have != nil {
			anew = append(anew, w)
		}
	}
	for _, w := range anew {
		k.lost = append(k.lost, k.open[w.key])
		k.stale[w.pool] = true
	}
	maps.Copy(k.open, fresh)
	for _, w := range all {
		if err := k.open[w.key].Change(w.spec); err != nil {
			return anew, &FieldError{w.field(), err.Error()}
		}
	}
	return anew, nil
}

// whyNot says why w could not be opened: it may be brood itself that is in the way.
func (k *sockets) whyNot(w wanted, err error) string {
	if errors.Is(err, listen.ErrInUse) {
		for _, s := range k.open {
			if has := s.Spec(); has.Overlaps(w.spec) {
				return fmt.Sprintf("cannot listen on %s: this brood has %s, which is in its way; take that out by one reload and add this by the next", w.spec, has)
			}
		}
	}
	return err.Error()
}

// settle closes what no pool has any more, and gives the others the owner and mode
// that the pools want: those of a pool that was left as it was may have changed.
func (k *sockets) settle(pools []Pool) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	var errs []error
	keep := map[string]bool{}
	for _, w := range wantedBy(pools...) {
		keep[w.key] = true
		if s := k.open[w.key]; s != nil {
			errs = append(errs, s.Change(w.spec))
		}
	}
	for key, s := range k.open {
		if !keep[key] {
			errs = append(errs, s.Close())
			delete(k.open, key)
		}
	}
	for _, s := range k.lost {
		errs = append(errs, s.Close())
	}
	k.lost = nil
	return errors.Join(errs...)
}

// needsRoll: workers of p have a socket that nobody can reach.
func (k *sockets) needsRoll(p Pool) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.stale[p.Name] || slices.ContainsFunc(wantedBy(p), func(w wanted) bool {
		s := k.open[w.key]
		return s != nil && s.Lost()
	})
}

// rolled: all workers of the pool have the sockets that are open.
func (k *sockets) rolled(pool string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	delete(k.stale, pool)
}

// files are a pool's sockets in the order of their names. They stay open here.
func (k *sockets) files(p *Pool) (files []*os.File, names []string, err error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, w := range wantedBy(*p) {
		s := k.open[w.key]
		if s == nil {
			return nil, nil, fmt.Errorf("its socket %s is not open", w.name)
		}
		files, names = append(files, s.File()), append(names, w.name)
	}
	return files, names, nil
}

// carriedSocket is one of them as it is handed over. Its key need not be UTF-8.
type carriedSocket struct {
	Key    []byte
	Socket listen.Saved
}

// export puts down all that are open.
func (k *sockets) export(out *handover.Out) (all []carriedSocket, err error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for key, s := range k.open {
		saved, err := s.Export(out)
		if err != nil {
			return nil, err
		}
		all = append(all, carriedSocket{[]byte(key), saved})
	}
	return all, nil
}

// adopt takes over what export has put down.
func (k *sockets) adopt(in *handover.In, all []carriedSocket) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, c := range all {
		s, err := listen.Adopt(in, c.Socket)
		if err != nil {
			return err
		}
		k.open[string(c.Key)] = s
	}
	return nil
}

func (k *sockets) close() error {
	k.mu.Lock()
	defer k.mu.Unlock()
	var errs []error
	for _, s := range k.open {
		errs = append(errs, s.Close())
	}
	clear(k.open)
	return errors.Join(errs...)
}
