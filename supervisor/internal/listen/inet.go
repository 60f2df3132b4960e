package listen

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// openInet opens a tcp or udp socket. All addresses are one IPv6 socket that
// takes IPv4 too; where there is no IPv6, an IPv4 one.
func openInet(s Spec) (*Socket, error) {
	addr := s.Addr.Addr()
	if addr.IsValid() {
		return bindInet(s, addr, true)
	}
	sock, err := bindInet(s, netip.IPv6Unspecified(), false)
	if errors.Is(err, unix.EAFNOSUPPORT) || errors.Is(err, unix.EADDRNOTAVAIL) {
		sock, err = bindInet(s, netip.IPv4Unspecified(), false)
	}
	return sock, err
}

// bindInet takes IPv4 into an IPv6 socket unless only6 is set.
func bindInet(s Spec, addr netip.Addr, only6 bool) (*Socket, error) {
	family, kind := unix.AF_INET, unix.SOCK_STREAM
	if addr.Is6() {
		family = unix.AF_INET6
	}
	if s.Network == "udp" {
		kind = unix.SOCK_DGRAM
	}
	sa, err := sockaddr(addr, s.Addr.Port())
	if err != nil {
		return nil, err
	}
	fd, err := newSocket(family, kind)
	if err != nil {
		return nil, err
	}
	file := os.NewFile(uintptr(fd), s.String())
	if err := bindAndListen(fd, family, kind, sa, only6); err != nil {
		file.Close()
		return nil, explain(s, err)
	}
	return &Socket{file: file, spec: s}, nil
}

func bindAndListen(fd, family, kind int, sa unix.Sockaddr, only6 bool) error {
	if family == unix.AF_INET6 {
		v := 0
		if only6 {
			v = 1
		}
		if err := unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_V6ONLY, v); err != nil {
			return os.NewSyscallError("setsockopt", err)
		}
	}
	// For tcp it lets the port be taken again while old connections wait for
	// their end (socket(7)). With udp two programs could share it unknowingly.
	if kind == unix.SOCK_STREAM {
		if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1); err != nil {
			return os.NewSyscallError("setsockopt", err)
		}
	}
	if err := unix.Bind(fd, sa); err != nil {
		return os.NewSyscallError("bind", err)
	}
	if kind == unix.SOCK_DGRAM {
		return nil
	}
	return os.NewSyscallError("listen", unix.Listen(fd, backlog))
}

func sockaddr(addr netip.Addr, port uint16) (unix.Sockaddr, error) {
	if addr.Is4() {
		return &unix.SockaddrInet4{Port: int(port), Addr: addr.As4()}, nil
	}
	sa := &unix.SockaddrInet6{Port: int(port), Addr: addr.As16()}
	if zone := addr.Zone(); zone != "" {
		if n, err := strconv.ParseUint(zone, 10, 32); err == nil {
			sa.ZoneId = uint32(n)
			return sa, nil
		}
		link, err := net.InterfaceByName(zone)
		if err != nil {
			return nil, fmt.Errorf("this machine has no interface %q (ip link lists those it has): %w", zone, err)
		}
		sa.ZoneId = uint32(link.Index)
	}
	return sa, nil
}

func addrPort(sa unix.Sockaddr) netip.AddrPort {
	switch sa := sa.(type) {
	case *unix.SockaddrInet4:
		return netip.AddrPortFrom(netip.AddrFrom4(sa.Addr), uint16(sa.Port))
	case *unix.SockaddrInet6:
		addr := netip.AddrFrom16(sa.Addr)
		if sa.ZoneId != 0 {
			addr = addr.WithZone(strconv.Itoa(int(sa.ZoneId)))
		}
		return netip.AddrPortFrom(addr, uint16(sa.Port))
	}
	return netip.AddrPort{}
}

// explain says what to do about an error of bind or listen.
func explain(s Spec, err error) error {
	port := s.Addr.Port()
	switch {
	case errors.Is(err, unix.EADDRINUSE):
		flag := "-ltnp"
		if s.Network == "udp" {
			flag = "-lunp"
		}
		return fmt.Errorf("%w: another program has port %d; find it with ss %s 'sport = :%d' and stop it, or choose another port: %w", ErrInUse, port, flag, port, err)
	case errors.Is(err, unix.EADDRNOTAVAIL):
		return fmt.Errorf("this machine has no address %s (ip addr lists those it has): %w", s.Addr.Addr(), err)
	case errors.Is(err, unix.EACCES) && port < 1024:
		return fmt.Errorf("ports below 1024 are for root and the capability CAP_NET_BIND_SERVICE; choose another, or lower the sysctl net.ipv4.ip_unprivileged_port_start: %w", err)
	}
	return err
}
