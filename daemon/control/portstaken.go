package control

import (
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"strconv"
	"strings"
)

// tcpListen is TCP_LISTEN of linux/tcp_states.h, as the kernel's tables have it.
const tcpListen = "0A"

// listening returns the ports of the range that something listens on where clones
// are published. Unlike probe it is in nobody's way.
func (p *ports) listening() (taken []int, err error) {
	for _, table := range []string{"/proc/net/tcp", "/proc/net/tcp6"} {
		content, err := os.ReadFile(table)
		if errors.Is(err, fs.ErrNotExist) {
			continue // a kernel without IPv6
		}
		if err != nil {
			return nil, err
		}
		for line := range strings.Lines(string(content)) {
			f := strings.Fields(line) // slot, local address, remote address, state …
			if len(f) < 4 || f[3] != tcpListen {
				continue
			}
			at, err := socketAddr(f[1])
			if err != nil {
				return nil, fmt.Errorf("%s: %w", table, err)
			}
			if port := int(at.Port()); port >= p.first && port <= p.last && p.concerns(at.Addr()) {
				taken = append(taken, port)
			}
		}
	}
	return taken, nil
}

// concerns says whether a socket at the address is in the way of a clone's port.
func (p *ports) concerns(at netip.Addr) bool {
	ours, err := netip.ParseAddr(p.addr)
	return err != nil || at == ours || at.IsUnspecified() || ours.IsUnspecified()
}

// socketAddr reads an address of /proc/net/tcp and tcp6: 32-bit words in the order
// of this machine's bytes, then the port, all in hexadecimal.
func socketAddr(text string) (netip.AddrPort, error) {
	host, port, _ := strings.Cut(text, ":")
	raw, err := hex.DecodeString(host)
	if err != nil {
		return netip.AddrPort{}, err
	}
	for i := 0; i+4 <= len(raw); i += 4 {
		binary.BigEndian.PutUint32(raw[i:], binary.NativeEndian.Uint32(raw[i:]))
	}
	addr, ok := netip.AddrFromSlice(raw)
	number, err := strconv.ParseUint(port, 16, 16)
	if !ok || err != nil {
		return netip.AddrPort{}, fmt.Errorf("%q is no socket's address", text)
	}
	return netip.AddrPortFrom(addr.Unmap(), uint16(number)), nil
}
