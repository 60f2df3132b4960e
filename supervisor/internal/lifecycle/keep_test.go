package lifecycle

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"
	"time"
)

// takeUp puts the machine down and goes on with what is made of that, if it can
// be done now. All laws hold for it as for the one before.
func (w *world) takeUp() {
	kept, err := w.m.Keep(w.now)
	if err != nil {
		return
	}
	w.seen[sawTakenUp]++
	b, err := json.Marshal(kept)
	if err != nil {
		w.fail("kept: %v", err)
		return
	}
	var read Kept
	if err := json.Unmarshal(b, &read); err != nil {
		w.fail("kept: %v", err)
		return
	}
	step := time.Duration(w.rng.IntN(3)) * time.Hour // the clock has been set meanwhile
	m, err := TakeUp(read, func(pool string, version uint64) *Policy { return w.byName[pool].policies[version] }, w.rng.Float64, w.now.Add(step))
	if err != nil {
		w.fail("kept: %v", err)
		return
	}
	if again, err := m.Keep(w.now.Add(step)); err != nil || !sameKept(again, kept) {
		w.fail("kept: %+v was %+v, %v", again, kept, err)
		return
	}
	if m, err = TakeUp(read, func(pool string, version uint64) *Policy { return w.byName[pool].policies[version] }, w.rng.Float64, w.now); err != nil {
		w.fail("kept: %v", err)
		return
	}
	w.m, w.last = m, w.now
	for _, tr := range w.tracks {
		was := tr.view
		tr.slot = m.slots[tr.id]
		tr.view = tr.slot.view()
		if now := tr.view; was.Slot != now.Slot || was.State != now.State || was.Generation != now.Generation || was.PID != now.PID || was.Restarts != now.Restarts || was.Hung != now.Hung {
			w.fail("kept: %+v was %+v", now, was)
		}
	}
}

// sameKept: but for the order of what has none.
func sameKept(a, b Kept) bool {
	gone := func(k Kept) map[Slot]uint64 {
		all := map[Slot]uint64{}
		for _, id := range k.Generations {
			all[id.Slot] = id.Generation
		}
		return all
	}
	x, _ := json.Marshal(a.Pools)
	y, _ := json.Marshal(b.Pools)
	return string(x) == string(y) && reflect.DeepEqual(gone(a), gone(b))
}

func TestKeepSaysWhatIsUnderWay(t *testing.T) {
	now := epoch
	m := New(func() float64 { return 0.5 })
	m.Add(Slot{"web", 1}, basic(), now)
	m.Add(Slot{"web", 2}, basic(), now)
	m.Step(now, Boot{})
	look := func(want string) {
		t.Helper()
		_, err := m.Keep(now)
		switch {
		case want == "" && err != nil:
			t.Error(err)
		case want != "" && (err == nil || !strings.Contains(err.Error(), want)):
			t.Errorf("%v, wanted %s", err, want)
		}
	}
	look("web/1#1: it is being started")
	for _, ev := range []Event{spawnedIn(1, 1), spawnedIn(2, 1)} {
		m.Step(now, ev)
	}
	look("")
	for _, ev := range []Event{greetedIn(1, 1), saidReadyIn(1, 1), greetedIn(2, 1), saidReadyIn(2, 1)} {
		m.Step(now, ev)
	}
	look("")
	m.Step(now, order(1, Restart, 1, 2))
	look("web is being rolled")
	m = New(func() float64 { return 0.5 })
	m.Add(Slot{"web", 1}, basic(), now)
	m.Step(now, Boot{})
	m.Step(now, spawnedIn(1, 1))
	m.Step(now, order(1, Stop, 1))
	look("an order")
	m.Step(now, exitedIn(1, 1, 0))
	look("")
	m.Step(now, Shutdown{})
	look("shutting down")
}

func TestTakeUpOfNonsense(t *testing.T) {
	fine := func() Kept {
		return Kept{Pools: []KeptPool{{Name: "web", Slots: []KeptSlot{{
			Want: Up, State: Ready, Generation: 3, Process: &KeptProcess{Generation: 3, PID: 7, Phase: uint8(serving)},
		}}}}}
	}
	for name, spoil := range map[string]func(k *Kept){
		"two pools of a name":     func(k *Kept) { k.Pools = append(k.Pools, k.Pools[0]) },
		"no such version":         func(k *Kept) { k.Pools[0].Version = 9 },
		"none of the slot's":      func(k *Kept) { k.Pools[0].Slots[0].Version = 9 },
		"none of the process's":   func(k *Kept) { k.Pools[0].Slots[0].Process.Version = 9 },
		"a phase there is not":    func(k *Kept) { k.Pools[0].Slots[0].Process.Phase = 99 },
		"one that is not started": func(k *Kept) { k.Pools[0].Slots[0].Process.Phase = uint8(ordered) },
		"another generation":      func(k *Kept) { k.Pools[0].Slots[0].Process.Generation = 4 },
	} {
		take := func(k Kept) error {
			_, err := TakeUp(k, func(_ string, version uint64) *Policy {
				if version != 0 {
					return nil
				}
				return basic()
			}, nil, epoch)
			return err
		}
		k := fine()
		if err := take(k); err != nil {
			t.Fatal(err)
		}
		if spoil(&k); take(k) == nil {
			t.Errorf("%s: it was taken", name)
		}
	}
}
