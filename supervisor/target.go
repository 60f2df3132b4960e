package supervisor

import (
	"fmt"
	"strconv"
	"strings"
)

// Target names what a command or an order is for. The same text is understood
// everywhere: on the command line, in the HTTP API and here.
//
//	web/2     that slot
//	web/2#7   only that generation
//	web       the pool; for a command, one ready worker of it
//	web/*     every slot of the pool
//	*         every slot
//	@1        slot 1 of the only pool
//
// A leading @ is allowed everywhere.
type Target struct {
	Pool       string // empty: the only pool
	Slot       int    // 0: none is named
	Generation uint64 // 0: whichever is there
	All        bool   // every slot of Pool, or of all pools if Pool is "*"
}

// ParseTarget reads a target.
func ParseTarget(s string) (Target, error) {
	text, at := strings.CutPrefix(s, "@")
	bad := func(why string) (Target, error) {
		return Target{}, fmt.Errorf("%w %q: %s; a target looks like web/2, web/2#7, web, web/* or *", ErrBadTarget, s, why)
	}
	if text == "" {
		return bad("it is empty")
	}
	if text == "*" {
		return Target{Pool: "*", All: true}, nil
	}
	if n, err := strconv.Atoi(text); at && err == nil {
		if n < 1 {
			return bad("slots are numbered from 1")
		}
		return Target{Slot: n}, nil
	}
	pool, rest, hasSlot := strings.Cut(text, "/")
	if !isPoolName(pool) {
		return bad(fmt.Sprintf("%q is no name of a pool", pool))
	}
	t := Target{Pool: pool}
	if !hasSlot {
		return t, nil
	}
	if rest == "*" {
		t.All = true
		return t, nil
	}
	slot, generation, hasGeneration := strings.Cut(rest, "#")
	n, err := strconv.Atoi(slot)
	if err != nil || n < 1 {
		return bad(fmt.Sprintf("%q is no number of a slot, which is 1 or more", slot))
	}
	t.Slot = n
	if hasGeneration {
		g, err := strconv.ParseUint(generation, 10, 64)
		if err != nil || g < 1 {
			return bad(fmt.Sprintf("%q is no number of a generation, which is 1 or more", generation))
		}
		t.Generation = g
	}
	return t, nil
}

func (t Target) String() string {
	switch {
	case t.Pool == "*":
		return "*"
	case t.Pool == "":
		return fmt.Sprintf("@%d", t.Slot)
	case t.All:
		return t.Pool + "/*"
	case t.Slot == 0:
		return t.Pool
	case t.Generation == 0:
		return fmt.Sprintf("%s/%d", t.Pool, t.Slot)
	}
	return fmt.Sprintf("%s/%d#%d", t.Pool, t.Slot, t.Generation)
}
