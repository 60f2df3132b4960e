package control

import (
	"strings"
	"testing"
)

func TestRoleNames(t *testing.T) {
	for _, r := range []Role{RoleNone, RoleViewer, RoleOperator, RoleAdmin} {
		if got, err := ParseRole(r.String()); err != nil || got != r {
			t.Errorf("%v reads as %v, %v", r, got, err)
		}
	}
	for _, s := range []string{"", "Admin", "root", "role(7)"} {
		if r, err := ParseRole(s); err == nil || r != RoleNone {
			t.Errorf("%q reads as %v, %v", s, r, err)
		}
	}
	if got := Role(7).String() + Role(-1).String(); got != "role(7)role(-1)" {
		t.Error(got)
	}
}

func TestMay(t *testing.T) {
	for role, can := range map[Role]string{
		RoleNone:     "",
		RoleViewer:   "status health events metrics whoami version",
		RoleOperator: "status health events metrics whoami version command logs restart start stop scale ping",
		RoleAdmin:    "status health events metrics whoami version command logs restart start stop scale ping reload upgrade shutdown",
	} {
		n := 0
		for v := range minRole {
			if role.may(v) {
				n++
			}
		}
		if n != len(strings.Fields(can)) {
			t.Errorf("%v may do %d things", role, n)
		}
		for v := range strings.FieldsSeq(can) {
			if !role.may(verb(v)) {
				t.Errorf("%v may not %s", role, v)
			}
		}
		if role.may("no such verb") || role.may("") {
			t.Errorf("%v may do what nobody knows", role)
		}
	}
}
