package lifecycle

import (
	"slices"
	"strings"
)

// The laws for pools and what is rolled out in them, after a step.

func (w *world) checkPools(ev Event) {
	w.groups = slices.DeleteFunc(w.groups, func(g *group) bool {
		over := g.leaving && !slices.ContainsFunc(w.tracks, func(tr *track) bool { return tr.g == g })
		if over {
			delete(w.byName, g.name)
		}
		return over
	})
	if len(w.groups) != len(w.m.pools) || len(w.groups) != len(w.m.inOrder) {
		w.fail("gone: there are %d pools, the machine has %d and %d", len(w.groups), len(w.m.pools), len(w.m.inOrder))
		return
	}
	for _, g := range w.groups {
		p := w.m.pools[g.name]
		live := 0
		w.of(g, func(tr *track) { live += len(tr.live) })
		if live != p.live {
			w.fail("process: pool %s has %d, there are %d", g.name, p.live, live)
		}
		w.checkReached(g, p)
		w.checkTaken(g, ev)
	}
	w.checkSpawns()
	w.checkRecycles()
	for _, g := range w.groups {
		p := w.m.pools[g.name]
		if !w.shut {
			w.checkVersions(g, p)
			w.checkHeld(g, p)
		}
		w.checkOrder(g)
	}
}

// checkReached notes which slots a rollout has come to, which forgives what
// was.
func (w *world) checkReached(g *group, p *pool) {
	for _, r := range p.rollouts {
		for _, t := range r.turns {
			tr := w.bySlot[t.slot.id]
			if tr == nil {
				continue
			}
			if r.aim == changing && !tr.reached {
				tr.reached, tr.begun, tr.reachedAt = true, true, w.steps
			}
			if tr.rolled != r && r.aim != recycling {
				tr.rolled, tr.restarts = r, nil
			}
		}
	}
	w.of(g, func(tr *track) {
		s := tr.slot
		tr.loose = tr.loose || s.idle()
		tr.recycled = tr.recycled && turning(s) && s.pool.rollouts[0].aim == recycling
	})
}

// checkTaken: because of rollouts, no more are missing that were ready, and no
// more are beside others, than the pool allows.
func (w *world) checkTaken(g *group, ev Event) {
	o, _ := ev.(Order)
	byName := o.Verb == Restart && len(o.Slots) == 1 && !o.Roll
	taken, extra, more := 0, 0, false
	w.of(g, func(tr *track) {
		s := tr.slot
		if tr.state == Ready && s.state == Stopping && s.proc != nil && s.proc.id.Generation == tr.counts && !s.proc.fault && s.proc.phase != parted && rolledOut(s.reason) && !(byName && o.Slots[0] == tr.id) {
			tr.taken, more = true, true
			if strings.HasPrefix(s.reason, "recycled: ") {
				w.recycles = append(w.recycles, recycle{tr, s.reason})
			}
		}
		tr.taken = tr.taken && s.want == Up
		if tr.taken {
			taken++
		}
		if len(tr.live) > 1 {
			extra++
		}
	})
	pol := g.policy()
	allowed := pol.Unavailable
	if pol.Surge == 0 {
		allowed = max(allowed, 1)
	}
	if more && taken > allowed {
		w.fail("missing: %d slots of pool %s are down because of rollouts, %d may be", taken, g.name, allowed)
	}
	for _, b := range w.spawns {
		if b.tr.g == g && b.tr.slot.next != nil && b.tr.slot.next.id == b.f.id && extra > pol.Surge {
			w.fail("surge: %d processes of pool %s are beside others, %d may be", extra, g.name, pol.Surge)
		}
	}
}

// checkRecycles: one of a pool at a time, not too young, and not again at once
// after it went wrong.
func (w *world) checkRecycles() {
	for _, rec := range w.recycles {
		tr := rec.tr
		w.seen[sawRecycled]++
		w.of(tr.g, func(other *track) {
			if other.recycled && other != tr {
				w.fail("recycle: %v and %v at once", tr.id, other.id)
			}
		})
		if w.now.Before(tr.coolTill) {
			w.fail("recycle: %v is tried again before %v", tr.id, tr.coolTill)
		}
		if p := tr.slot.proc; p != nil && strings.Contains(rec.why, "it has been ready for") {
			if f := w.process(p.id); f != nil && w.now.Before(f.ripe) {
				w.fail("age: %v is recycled, and has %v left", f.id, f.ripe.Sub(w.now))
			}
		}
		tr.recycled = true
	}
}

// rolledOut: the reason is a rollout's.
func rolledOut(reason string) bool {
	return slices.ContainsFunc([]string{"restarted by hand", "recycled: ", "the configuration has changed", "back to the configuration"},
		func(why string) bool { return strings.HasPrefix(reason, why) })
}

// checkSpawns: each process is of the version that its slot is to have, comes
// when its pool may be started, and no sooner than the pool's bucket allows.
func (w *world) checkSpawns() {
	besides := 0
	for _, b := range w.spawns {
		s := b.tr.slot
		if s.next != nil && s.next.id == b.f.id {
			besides++
		}
		want := b.version
		if b.rolling && !b.tr.given && !b.tr.reached {
			want = b.from
		}
		loose := b.rolling && (b.tr.loose || b.tr.reachedAt == w.steps) && (b.f.version == b.version || b.f.version == b.from)
		if b.f.version != want && !loose {
			w.fail("version: %v is spawned of %d, want %d", b.f.id, b.f.version, want)
		}
		if g := b.tr.g; !g.released && !b.tr.byHand && !w.upAll(g) {
			w.fail("after: %v is spawned, and %v are not all up", b.f.id, g.after)
		}
		if s.proc != nil && s.proc.id == b.f.id && strings.HasPrefix(s.reason, "restarted after") {
			w.checkBucket(b.tr.g, b.policy)
		}
	}
	if besides != w.besides {
		w.fail("two live: %d processes have started beside others, %d were announced", besides, w.besides)
	}
}

// checkBucket: restarts that nobody asked for keep within the rate, over every
// time that ends now.
func (w *world) checkBucket(g *group, pol *Policy) {
	every, burst := pol.RestartEvery, pol.RestartBurst
	if every <= 0 || pol != g.policy() { // the step has brought another
		return
	}
	g.restarts = append(g.restarts, w.now)
	if most := 100; len(g.restarts) > most {
		g.restarts = g.restarts[1:]
	}
	for i, t := range g.restarts {
		if n := len(g.restarts) - i; n > burst+int(w.now.Sub(t)/every) {
			w.fail("bucket: %d restarts in pool %s within %v, %d at once and one every %v are allowed", n, g.name, w.now.Sub(t), burst, every)
			return
		}
	}
}

// checkVersions: what nothing is rolled out to any more is of the pool's
// version, or will be.
func (w *world) checkVersions(g *group, p *pool) {
	rolling := slices.ContainsFunc(p.rollouts, func(r *rollout) bool { return r.aim == changing })
	if g.rolling && !rolling {
		w.seen[sawChanged]++
		g.rolling = false
	}
	if g.rolling != rolling || p.version != g.version || w.sabotaged.policy == nil && p.policy != g.policy() {
		w.fail("version: pool %s has %d, rolling %v; it should have %d, %v", g.name, p.version, rolling, g.version, g.rolling)
	}
	w.of(g, func(tr *track) {
		s := tr.slot
		switch q := s.proc; {
		case tr.leaving:
		case w.reverted == g.name && tr.begun && s.want == Up && q == nil && !reached(s):
			w.fail("reverted: %v is left %v", s.id, s.state)
		case !rolling && s.version != g.version, s.version != g.version && s.version != g.from:
			w.fail("version: %v has %d, its pool %d", s.id, s.version, g.version)
		case s.want == Up && q != nil && q.phase == serving && q.version != s.version && !reached(s) && q.due == "":
			w.fail("version: %v is of %d and stays so, its slot has %d", q.id, q.version, s.version)
		}
	})
}

// checkHeld: a pool is held until what it comes after has been up, no longer.
func (w *world) checkHeld(g *group, p *pool) {
	if !g.leaving && !g.released && w.upAll(g) {
		g.released = true
		if len(g.after) > 0 {
			w.seen[sawReleased]++
		}
	}
	if p.held && (g.released || g.leaving) {
		w.fail("after: pool %s is held, and what it waits for is up", g.name)
	}
}

// checkOrder: a Shutdown stops a pool when those that come after it are empty.
func (w *world) checkOrder(g *group) {
	if !w.shut || w.atOnce || w.ring {
		return
	}
	w.of(g, func(tr *track) {
		if s := tr.slot; s.proc != nil && s.state == Stopping && s.reason == "shutdown" {
			for _, q := range w.groups {
				if slices.Contains(q.after, g.name) && slices.ContainsFunc(w.tracks, func(o *track) bool { return o.g == q && len(o.live) > 0 }) {
					w.fail("after: %v is stopped before pool %s, which comes after it", tr.id, q.name)
				}
			}
		}
	})
}
