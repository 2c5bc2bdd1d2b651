package at

import (
	"net/netip"
	"strconv"
	"strings"
)

// parseAddress reads an address as modules write it: as everybody does, or as
// 3GPP TS 27.007 has it without AT+CGPIAF, with 4 decimals for IPv4 and 16 for
// IPv6, and as many again for the mask. The mask is dropped: a link is point to
// point. The unspecified address is none.
func parseAddress(s string) (netip.Addr, bool) {
	host, _, _ := strings.Cut(strings.TrimSpace(s), "/")
	if a, err := netip.ParseAddr(host); err == nil {
		return known4(a)
	}
	parts := strings.Split(host, ".")
	n := len(parts)
	if n == 8 || n == 32 { // with its mask
		n /= 2
	}
	if n != 4 && n != 16 {
		return netip.Addr{}, false
	}
	b := make([]byte, n)
	for i := range b {
		v, err := strconv.ParseUint(parts[i], 10, 8)
		if err != nil {
			return netip.Addr{}, false
		}
		b[i] = byte(v)
	}
	a, ok := netip.AddrFromSlice(b)
	if !ok {
		return netip.Addr{}, false
	}
	return known4(a)
}

// known4 refuses the unspecified address, and IPv4 dressed as IPv6 stays IPv4.
func known4(a netip.Addr) (netip.Addr, bool) {
	a = a.Unmap().WithZone("")
	return a, a.IsValid() && !a.IsUnspecified()
}
