package process

import (
	"errors"
	"fmt"
	"os"
	"os/user"
	"slices"
	"strconv"
)

// LookupUser resolves a user and a group, each a name or a number, either may be
// empty, to what a process of theirs has: the group, unless one is named, and
// the supplementary groups come from the system's database, as after
// initgroups(3). A nil Credential without an error means that there is nothing to
// change: nothing was asked for, or the supervisor, not being root, is that user
// itself.
//
// It asks the database each time, which may take a while where that is a
// network service.
func LookupUser(name, group string) (*Credential, error) {
	if name == "" && group == "" {
		return nil, nil
	}
	c, err := userOf(name)
	if err != nil {
		return nil, err
	}
	own := c.GID
	switch {
	case group != "":
		if c.GID, err = groupOf(group); err != nil {
			return nil, err
		}
		// The group of the user's entry is replaced, not added to.
		c.Groups = slices.DeleteFunc(c.Groups, func(g uint32) bool { return g == own })
	case c.GID == noGroup:
		return nil, fmt.Errorf("the system knows no user with the number %s, and so not which group is theirs; set group: too", name)
	}
	c.Groups = append(c.Groups, c.GID)
	slices.Sort(c.Groups)
	c.Groups = slices.Compact(c.Groups)
	if os.Geteuid() == 0 {
		return c, nil
	}
	if int(c.UID) == os.Geteuid() && int(c.GID) == os.Getegid() {
		return nil, nil
	}
	return nil, onlyRoot(c.String())
}

func onlyRoot(who string) error {
	return fmt.Errorf("only root can become %s and brood runs as uid %d; start it as root, or leave user: and group: away and start it as that user", who, os.Geteuid())
}

// noGroup is (gid_t)-1, which is no group: the calls that set ids take it for
// "unchanged".
const noGroup = ^uint32(0)

// userOf finds the user. Its GID is noGroup if there is only a number.
func userOf(name string) (*Credential, error) {
	if name == "" {
		return &Credential{UID: uint32(os.Geteuid()), GID: noGroup}, nil
	}
	uid, isNumber, err := number(name)
	if err != nil {
		return nil, fmt.Errorf("user %q: %w", name, err)
	}
	var u *user.User
	if isNumber {
		u, err = user.LookupId(strconv.FormatUint(uint64(uid), 10))
		if unknown := user.UnknownUserIdError(0); errors.As(err, &unknown) {
			return &Credential{UID: uid, GID: noGroup}, nil
		}
	} else {
		u, err = user.Lookup(name)
		if unknown := user.UnknownUserError(""); errors.As(err, &unknown) {
			return nil, fmt.Errorf("the system knows no user %q; make it (useradd --system %s), or write another: %w", name, name, err)
		}
	}
	if err != nil {
		return nil, fmt.Errorf("user %q: the system's database does not answer: %w", name, err)
	}
	return credentialOf(u)
}

func credentialOf(u *user.User) (*Credential, error) {
	c := &Credential{User: u.Username, Home: u.HomeDir}
	ids, err := u.GroupIds()
	if err != nil {
		return nil, fmt.Errorf("user %s: the groups can't be told: %w", u.Username, err)
	}
	for i, text := range append([]string{u.Uid, u.Gid}, ids...) {
		id, isNumber, err := number(text)
		if err != nil || !isNumber {
			return nil, fmt.Errorf("user %s: the system's database has %q for an id", u.Username, text)
		}
		switch i {
		case 0:
			c.UID = id
		case 1:
			c.GID = id
		default:
			c.Groups = append(c.Groups, id)
		}
	}
	return c, nil
}

func groupOf(name string) (uint32, error) {
	gid, isNumber, err := number(name)
	if err != nil {
		return 0, fmt.Errorf("group %q: %w", name, err)
	}
	if isNumber {
		return gid, nil
	}
	g, err := user.LookupGroup(name)
	if unknown := user.UnknownGroupError(""); errors.As(err, &unknown) {
		return 0, fmt.Errorf("the system knows no group %q; make it (groupadd --system %s), or write another: %w", name, name, err)
	}
	if err != nil {
		return 0, fmt.Errorf("group %q: the system's database does not answer: %w", name, err)
	}
	gid, isNumber, err = number(g.Gid)
	if err != nil || !isNumber {
		return 0, fmt.Errorf("group %s: the system's database has %q for an id", name, g.Gid)
	}
	return gid, nil
}

// number tells an id from a name: digits only.
func number(s string) (id uint32, isNumber bool, err error) {
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return 0, false, nil
		}
	}
	n, err := strconv.ParseUint(s, 10, 32)
	if err != nil || uint32(n) == noGroup {
		return 0, false, errors.New("an id is a number from 0 to 4294967294")
	}
	return uint32(n), true, nil
}
