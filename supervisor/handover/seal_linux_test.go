package handover_test

import (
	"testing"

	"golang.org/x/sys/unix"

	"example.com/brood/supervisor/handover"
)

// TestSealed: nobody can change what is handed over any more, nor execute it.
func TestSealed(t *testing.T) {
	var out handover.Out
	fd, _, err := out.Seal(nil)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	if _, err := unix.Write(fd, []byte("x")); err != unix.EPERM {
		t.Errorf("it can be written to: %v", err)
	}
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		t.Fatal(err)
	}
	probe, err := unix.MemfdCreate("probe", unix.MFD_NOEXEC_SEAL)
	if err == unix.EINVAL {
		t.Skip("Linux before 6.3 has no memfd that can't be executed")
	}
	unix.Close(probe)
	if err := unix.Fchmod(fd, 0o700); st.Mode&0o111 != 0 || err != unix.EPERM {
		t.Errorf("its mode is %o, another: %v", st.Mode, err)
	}
}
