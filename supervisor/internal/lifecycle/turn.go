package lifecycle

// turn is one slot's replacement under way, beside the old process or in its
// place.
type turn struct {
	slot       *slot
	generation uint64 // of the process that replaces
}

type turnState uint8

const (
	turnGoing turnState = iota
	turnDone
	turnDropped // an operator has stopped the slot meanwhile
	turnFailed
)

// judge looks how far a turn has come, and gives a new process that has proven
// itself the place. The text says how it was done, or why it has failed.
func (t *turn) judge() (turnState, string) {
	s := t.slot
	if s.want == Down {
		return turnDropped, ""
	}
	if n := s.next; n != nil && n.id.Generation == t.generation {
		switch {
		case n.lost():
			return turnFailed, n.why
		case !n.soaked():
			return turnGoing, ""
		}
		s.swap()
	}
	switch p := s.proc; {
	case p == nil && s.state == Done:
		return turnDone, s.reason
	case p == nil, p.id.Generation > t.generation:
		return turnFailed, s.died
	case p.id.Generation < t.generation && p.asked: // it makes room
		return turnGoing, ""
	case p.id.Generation < t.generation: // it serves on; what was beside it is gone
		return turnFailed, s.died
	case p.asked && p.replaced: // by an operator, for one that is newer still
		t.generation = s.generation + 1
		return turnGoing, ""
	case p.lost():
		return turnFailed, p.why
	case s.state == Ready && s.old == nil && p.soaked():
		return turnDone, ""
	}
	return turnGoing, ""
}

// lost: it goes and won't come to serve. One that has only parted tells by its
// exit why.
func (p *proc) lost() bool { return p.asked && p.phase != parted }
