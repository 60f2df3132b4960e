package ipc

// table holds calls by id. One end gives its ids out one after the other, so
// that each has a place of its own; ids that meet in one, which the peer can
// bring about, go into more.
type table[T any] struct {
	slots []entry[T] // as many as a power of two
	more  map[uint32]*T
	n     int
}

type entry[T any] struct {
	id uint32
	v  *T // nil: free
}

const fewSlots, manySlots = 16, 1 << 17

// place is where id belongs. The lowest bit says only whose call it is.
func (t *table[T]) place(id uint32) *entry[T] { return &t.slots[int(id>>1)&(len(t.slots)-1)] }

func (t *table[T]) get(id uint32) *T {
	if t.n == 0 {
		return nil
	}
	if e := t.place(id); e.id == id && e.v != nil {
		return e.v
	}
	return t.more[id]
}

// put adds v, whose id is not there.
func (t *table[T]) put(id uint32, v *T) {
	if 2*t.n >= len(t.slots) && len(t.slots) < manySlots {
		t.grow()
	}
	t.n++
	e := t.place(id)
	if e.v == nil {
		*e = entry[T]{id, v}
		return
	}
	if t.more == nil {
		t.more = map[uint32]*T{}
	}
	t.more[id] = v
}

func (t *table[T]) grow() {
	old := *t
	*t = table[T]{slots: make([]entry[T], max(fewSlots, 2*len(old.slots)))}
	old.each(t.put)
}

func (t *table[T]) remove(id uint32) {
	if t.n == 0 {
		return
	}
	if e := t.place(id); e.id == id && e.v != nil {
		*e = entry[T]{}
		t.n--
	} else if t.more[id] != nil {
		delete(t.more, id)
		t.n--
	}
	if t.n == 0 && len(t.slots) > 1<<10 { // after a crowd
		*t = table[T]{}
	}
}

// each calls do for all, in no order. do must not change the table.
func (t *table[T]) each(do func(id uint32, v *T)) {
	for _, e := range t.slots {
		if e.v != nil {
			do(e.id, e.v)
		}
	}
	for id, v := range t.more {
		do(id, v)
	}
}
