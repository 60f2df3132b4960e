package control

import (
	"strings"
	"testing"

	"example.com/brood/ipc"
	"example.com/brood/supervisor"
	"example.com/brood/supervisor/control/api"
)

func known(uid, gid int, groups ...int) Peer {
	return Peer{UID: uid, GID: gid, Groups: groups, known: true}
}

// TestRightsOf: who is named gets what the rules give, who is not what the
// listener gives, and nobody more than the listener's highest.
func TestRightsOf(t *testing.T) {
	rules := []Rule{
		{Role: RoleAdmin, UIDs: []int{1001}},
		{Role: RoleViewer, GIDs: []int{50}},
		{Role: RoleOperator, GIDs: []int{60}, Pools: []string{"web", "api"}},
		{Role: RoleOperator, UIDs: []int{1002}, Pools: []string{"web"}, Commands: []string{"flush"}},
		{Role: RoleNone, UIDs: []int{1003}},
	}
	access := Access{Owner: 1000, Rules: rules, Door: Door{Others: RoleViewer}, Doors: map[string]Door{
		"/nobody": {Others: RoleNone}, "/capped": {Others: RoleOperator, Max: RoleViewer}, "/ops": {Others: RoleOperator},
	}}
	for _, tt := range []struct {
		peer      Peer
		door      string
		want, why string
	}{
		{known(0, 0), "", "admin", "uid 0 is root"},
		{known(1000, 5), "", "admin", "uid 1000 is the supervisor's own"},
		{known(1001, 5), "", "admin", "access rule 1 names uid 1001 or a group of it"},
		{known(7, 50), "", "viewer", "access rule 2 names uid 7 or a group of it"},
		{known(7, 5, 4, 50), "", "viewer", "access rule 2 names"},
		{known(7, 5, 60), "", "operator of web, api", "access rule 3 names"},
		{known(7, 50, 60), "", "viewer; operator of web, api", "access rules 2, 3 name uid 7"},
		{known(1002, 5), "", "operator of web for flush", "access rule 4 names"},
		{known(1002, 60), "/ops", "operator of web, api; operator of web for flush", "access rules 3, 4"},
		{known(1003, 5), "/ops", "none", "access rule 5 names"},
		{known(1003, 50), "", "viewer", "access rules 2, 5"},
		{known(7, 7), "", "viewer", "no rule names uid 7; this listener gives viewer"},
		{known(7, 7), "/ops", "operator", "no rule names uid 7; this listener gives operator"},
		{known(7, 7), "/nobody", "none", "this listener gives none"},
		{known(7, 7), "/capped", "viewer", "nobody has more than viewer through this listener"},
		{known(0, 0), "/capped", "viewer", "uid 0 is root; nobody has more than viewer"},
		{known(7, 60), "/capped", "viewer of web, api", "nobody has more"},
		{Peer{UID: 0}, "", "none", "the kernel does not say who is calling"},
		{Peer{GID: 60, Groups: []int{60}}, "", "none", "the kernel does not say"},
	} {
		r := access.rightsOf(tt.peer, tt.door)
		if r.String() != tt.want || !strings.Contains(r.why, tt.why) {
			t.Errorf("%+v by %q: %v, because %s; want %s, because %s", tt.peer, tt.door, r, r.why, tt.want, tt.why)
		}
	}
	zero := Access{Owner: -1}
	if r := zero.rightsOf(known(1000, 1000), ""); r.top() != RoleNone {
		t.Errorf("the zero Access gives %v", r)
	}
}

// TestAPoolThatIsGone: who may do something in a pool that there is not any more hears
// no word of those that there are.
func TestAPoolThatIsGone(t *testing.T) {
	h := serveHere(t, Config{}, workers("web", 1), workers("db", 1))
	h.server.SetAccess(Access{Owner: -1, Rules: []Rule{{Role: RoleOperator, UIDs: []int{7}, Pools: []string{"gone"}}}})
	_, err := h.server.doPing(t.Context(), &caller{peer: known(7, 7)}, supervisor.Target{Slot: 1})
	if p := problemOf(err); p.Code != api.CodeDenied || strings.Contains(p.Detail, "several") {
		t.Errorf("%+v", p)
	}
}

// TestNarrowRights: a narrowed rule covers exactly what it names.
func TestNarrowRights(t *testing.T) {
	access := Access{Owner: -1, Rules: []Rule{
		{Role: RoleOperator, UIDs: []int{1}, Pools: []string{"web"}},
		{Role: RoleOperator, UIDs: []int{2}, Pools: []string{"web"}, Commands: []string{"flush"}},
		{Role: RoleOperator, UIDs: []int{3}, Commands: []string{"flush"}},
		{Role: RoleViewer, UIDs: []int{4}, Pools: []string{"web"}},
	}}
	for _, tt := range []struct {
		uid           int
		pool          string
		verb          verb
		command       string
		may           bool
		somewhereToo  bool
		everywhereToo bool
	}{
		{1, "web", verbRestart, "", true, true, false},
		{1, "web", verbCommand, "anything", true, true, false},
		{1, "web", verbStatus, "", true, true, false},
		{1, "db", verbRestart, "", false, true, false},
		{1, "db", verbStatus, "", false, true, false},
		{1, "web", verbReload, "", false, false, false},
		{2, "web", verbCommand, "flush", true, true, false},
		{2, "web", verbCommand, "reload", false, true, false},
		{2, "web", verbRestart, "", false, false, false},
		{2, "web", verbLogs, "", false, false, false},
		{2, "web", verbPing, "", false, false, false},
		{2, "web", verbStatus, "", true, true, false},
		{2, "db", verbCommand, "flush", false, true, false},
		{3, "db", verbCommand, "flush", true, true, false},
		{3, "db", verbStop, "", false, false, false},
		{4, "web", verbHealth, "", true, true, false},
		{4, "db", verbHealth, "", false, true, false},
		{4, "web", verbCommand, "flush", false, false, false},
		{5, "web", verbStatus, "", false, false, false},
		{1, "web", "no such verb", "", false, false, false},
	} {
		r := access.rightsOf(known(tt.uid, 9), "")
		if got := r.in(tt.pool, tt.verb, tt.command); got != tt.may {
			t.Errorf("uid %d, %s %s of %s: %v", tt.uid, tt.verb, tt.command, tt.pool, got)
		}
		if got := r.somewhere(tt.verb); got != tt.somewhereToo {
			t.Errorf("uid %d, %s somewhere: %v", tt.uid, tt.verb, got)
		}
		if got := r.everywhere(tt.verb); got != tt.everywhereToo {
			t.Errorf("uid %d, %s everywhere: %v", tt.uid, tt.verb, got)
		}
	}
}

// TestNamesOfOtherPools: no answer tells a caller of pools that it may not see.
func TestNamesOfOtherPools(t *testing.T) {
	ctx := t.Context()
	refusals := func(h *here, target supervisor.Target) (all []string) {
		t.Helper()
		h.server.SetAccess(Access{Owner: -1, Rules: []Rule{{Role: RoleOperator, UIDs: []int{1}, Pools: []string{"web", "api", "gone"}}}})
		c := &caller{peer: known(1, 9)}
		_, ping := h.server.doPing(ctx, c, target)
		_, order := h.server.doOrder(ctx, c, verbRestart, target, 0)
		_, call := h.server.doCommand(ctx, c, target, "echo", ipc.Text("x"))
		stream := h.server.doStream(ctx, c, target, "echo", ipc.Text("x"), false, func(api.Piece) error { return nil })
		_, events := h.server.eventsFor(c, eventQuery{target: target})
		_, logs := h.server.doLogs(c, target, false, 1)
		_, health := h.server.doHealthOf(c, target.String(), 0)
		for i, err := range []error{ping, order, call, stream, events, logs, health} {
			if err == nil {
				t.Fatalf("%v, %d: no error", target, i)
			}
			all = append(all, problemOf(err).Detail)
		}
		return all
	}
	several := serveHere(t, Config{}, workers("web", 1), workers("hidden", 1), workers("api", 1))
	one := serveHere(t, Config{}, workers("hidden", 1))
	for _, tt := range []struct {
		h      *here
		target supervisor.Target
		want   string
	}{
		{several, supervisor.Target{Slot: 1}, "there are several pools: say which of web, api"},
		{several, supervisor.Target{Pool: "gone"}, `there is no pool "gone"; the pools are web, api`},
		{one, supervisor.Target{Pool: "gone", Slot: 1}, `there is no pool "gone"`},
		{one, supervisor.Target{Slot: 1}, "(@1"},
	} {
		for i, text := range refusals(tt.h, tt.target) {
			if !strings.Contains(text, tt.want) || strings.Contains(text, "hidden") {
				t.Errorf("%v, %d: %s", tt.target, i, text)
			}
		}
	}
}

// TestFollowerIsRevoked: who follows logs or events when a reload takes the right
// away sees nothing from then on.
func TestFollowerIsRevoked(t *testing.T) {
	s, _ := serveIdle(t)
	s.SetAccess(Access{Owner: -1, Door: Door{Others: RoleOperator}})
	sees := s.sees(&caller{peer: Peer{UID: 65534, known: true}}, verbLogs)
	if !sees("web") {
		t.Fatal("an operator sees no logs")
	}
	if s.SetAccess(Access{Owner: -1, Door: Door{Others: RoleViewer}}); sees("web") {
		t.Error("it goes on seeing logs as a viewer")
	}
}
