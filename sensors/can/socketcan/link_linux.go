package socketcan

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Attributes of a CAN link beyond those of the unix package, from linux/if_link.h
// and linux/can/netlink.h.
const (
	infoKind       = 1
	infoData       = 2
	infoStats      = 3
	canTiming      = 1
	canState       = 4
	canControl     = 5
	canRestart     = 6
	canCounters    = 8
	canDataTiming  = 9
	controlListen  = 0x02
	controlFD      = 0x20
	timingBytes    = 32
	nestedAttr     = 1 << 15
	attrMask       = 1<<14 - 1
	statDropped    = 6
	headerBytes    = unix.SizeofNlMsghdr
	infoBytes      = unix.SizeofIfInfomsg
	statOverErrors = 11
)

// link is what the kernel says of an interface.
type link struct {
	index      int
	up         bool
	carrier    bool
	controller bool // a CAN controller, which has all that follows
	state      busState
	mode       uint32
	bitrate    int
	dataRate   int
	restartMS  int
	txErrors   uint16
	rxErrors   uint16
	dropped    uint64 // frames that the kernel dropped before any socket
	overrun    uint64 // times that the controller's buffer ran over
	lost       uint32 // arbitrations
}

// errNoLink is returned for an interface that does not exist.
var errNoLink = errors.New("no such network interface")

// netlink asks and hears of links. It belongs to one goroutine.
type netlink struct {
	fd     int      // for questions
	news   *os.File // of changes
	seq    uint32
	buffer [16 << 10]byte
}

func openNetlink() (*netlink, error) {
	open := func(groups uint32) (int, error) {
		fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_ROUTE)
		if err != nil {
			return -1, fmt.Errorf("socketcan: netlink: %w", err)
		}
		if err := unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK, Groups: groups}); err != nil {
			return -1, errors.Join(fmt.Errorf("socketcan: bind netlink: %w", err), unix.Close(fd))
		}
		return fd, nil
	}
	ask, err := open(0)
	if err != nil {
		return nil, err
	}
	limit := unix.NsecToTimeval(int64(time.Second)) // the kernel answers at once
	news, err := open(unix.RTMGRP_LINK)
	if err != nil {
		return nil, errors.Join(err, unix.Close(ask))
	}
	err = errors.Join(unix.SetsockoptTimeval(ask, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &limit), unix.SetNonblock(news, true))
	if err != nil {
		return nil, errors.Join(fmt.Errorf("socketcan: netlink: %w", err), unix.Close(ask), unix.Close(news))
	}
	return &netlink{fd: ask, news: os.NewFile(uintptr(news), "netlink")}, nil
}

func (n *netlink) close() error { return errors.Join(unix.Close(n.fd), n.news.Close()) }

// wait returns when any link has changed, or after d.
func (n *netlink) wait(ctx context.Context, d time.Duration) {
	stop := context.AfterFunc(ctx, func() { _ = n.news.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	if n.news.SetReadDeadline(time.Now().Add(d)) != nil || ctx.Err() != nil {
		return
	}
	_, _ = n.news.Read(n.buffer[:]) // what it says is asked for anew
}

// get asks for the link of a name.
func (n *netlink) get(name string) (link, error) {
	answer, err := n.ask(unix.RTM_GETLINK, 0, make([]byte, infoBytes), attribute(nil, unix.IFLA_IFNAME, append([]byte(name), 0)))
	if errors.Is(err, unix.ENODEV) {
		return link{}, errNoLink
	}
	if err != nil {
		return link{}, fmt.Errorf("socketcan: ask for %s: %w", name, err)
	}
	return parseLink(answer)
}

// isSet reports that a controller runs as setUp would set it: then it is not stopped
// for that.
func (l *link) isSet(c *Config, listen bool) bool {
	return l.up && l.bitrate == c.Bitrate && (c.DataBitrate == 0 || l.dataRate == c.DataBitrate) &&
		(l.mode&controlListen != 0) == listen && l.restartMS == c.RestartMS
}

// setUp sets the bit rates of a controller, what it does when it is bus off, and starts it. listen asks for a
// controller that only listens; those that can't fail with EOPNOTSUPP.
func (n *netlink) setUp(name string, l link, c *Config, listen bool) error {
	var flags uint32
	if listen {
		flags |= controlListen
	}
	if c.DataBitrate > 0 {
		flags |= controlFD
	}
	timing := func(rate int) []byte {
		b := make([]byte, timingBytes)
		binary.NativeEndian.PutUint32(b, uint32(rate))
		return b
	}
	pair := binary.NativeEndian.AppendUint32(nil, controlListen|controlFD) // the bits to set or clear
	pair = binary.NativeEndian.AppendUint32(pair, flags)
	data := attribute(nil, canTiming, timing(c.Bitrate))
	if c.DataBitrate > 0 {
		data = attribute(data, canDataTiming, timing(c.DataBitrate))
	}
	data = attribute(data, canControl, pair)
	if c.RestartMS != l.restartMS { // a driver that cannot restart refuses it
		data = attribute(data, canRestart, binary.NativeEndian.AppendUint32(nil, uint32(c.RestartMS)))
	}
	info := attribute(nil, infoKind, []byte("can"))
	info = attribute(info, infoData|nestedAttr, data)
	for _, step := range []struct {
		what  string
		flags uint32
		attrs []byte
	}{
		{"stop", 0, nil},
		{"set bit rate of", 0, attribute(nil, unix.IFLA_LINKINFO|nestedAttr, info)},
		{"start", unix.IFF_UP, nil},
	} {
		head := make([]byte, infoBytes)
		binary.NativeEndian.PutUint32(head[4:], uint32(l.index))
		binary.NativeEndian.PutUint32(head[8:], step.flags)
		binary.NativeEndian.PutUint32(head[12:], unix.IFF_UP)
		if step.attrs != nil {
			binary.NativeEndian.PutUint32(head[12:], 0) // leave the flags
		}
		if _, err := n.ask(unix.RTM_NEWLINK, unix.NLM_F_ACK, head, step.attrs); err != nil {
			return fmt.Errorf("socketcan: %s %s: %w", step.what, name, err)
		}
	}
	return nil
}

// ask sends one request and returns the body of the answer, which is empty for
// a mere acknowledge.
func (n *netlink) ask(kind uint16, flags uint16, head, attrs []byte) ([]byte, error) {
	n.seq++
	b := make([]byte, headerBytes, headerBytes+len(head)+len(attrs))
	b = append(append(b, head...), attrs...)
	binary.NativeEndian.PutUint32(b, uint32(len(b)))
	binary.NativeEndian.PutUint16(b[4:], kind)
	binary.NativeEndian.PutUint16(b[6:], flags|unix.NLM_F_REQUEST)
	binary.NativeEndian.PutUint32(b[8:], n.seq)
	if err := unix.Sendto(n.fd, b, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return nil, err
	}
	for {
		size, _, err := unix.Recvfrom(n.fd, n.buffer[:], 0)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return nil, err
		}
		messages, err := syscall.ParseNetlinkMessage(n.buffer[:size])
		if err != nil {
			return nil, err
		}
		for _, m := range messages {
			switch {
			case m.Header.Seq != n.seq:
			case m.Header.Type == unix.NLMSG_ERROR && len(m.Data) >= 4:
				if code := int32(binary.NativeEndian.Uint32(m.Data)); code != 0 {
					return nil, unix.Errno(-code)
				}
				return nil, nil
			default:
				return m.Data, nil
			}
		}
	}
}

// attribute appends an attribute of netlink.
func attribute(dst []byte, kind int, body []byte) []byte {
	dst = binary.NativeEndian.AppendUint16(dst, uint16(4+len(body)))
	dst = binary.NativeEndian.AppendUint16(dst, uint16(kind))
	dst = append(dst, body...)
	return append(dst, make([]byte, -len(body)&3)...)
}

// attributes calls fn for each attribute in b.
func attributes(b []byte, fn func(kind int, body []byte)) {
	for len(b) >= 4 {
		size := int(binary.NativeEndian.Uint16(b))
		if size < 4 || size > len(b) {
			return
		}
		fn(int(binary.NativeEndian.Uint16(b[2:])&attrMask), b[4:size])
		b = b[min(len(b), (size+3)&^3):]
	}
}

// parseLink reads an answer to RTM_GETLINK.
func parseLink(b []byte) (link, error) {
	if len(b) < infoBytes {
		return link{}, errors.New("socketcan: answer about a link is cut")
	}
	l := link{index: int(int32(binary.NativeEndian.Uint32(b[4:])))}
	flags := binary.NativeEndian.Uint32(b[8:])
	l.up, l.carrier = flags&unix.IFF_UP != 0, flags&unix.IFF_RUNNING != 0
	attributes(b[infoBytes:], func(kind int, body []byte) {
		switch kind {
		case unix.IFLA_STATS64:
			stat := func(i int) uint64 {
				if len(body) < 8*(i+1) {
					return 0
				}
				return binary.NativeEndian.Uint64(body[8*i:])
			}
			l.dropped, l.overrun = stat(statDropped), stat(statOverErrors)
		case unix.IFLA_LINKINFO:
			l.parseInfo(body)
		}
	})
	return l, nil
}

func (l *link) parseInfo(b []byte) {
	var kind string
	var data, stats []byte
	attributes(b, func(k int, body []byte) {
		switch k {
		case infoKind:
			kind = string(body)
		case infoData:
			data = body
		case infoStats:
			stats = body
		}
	})
	if l.controller = kind == "can\x00"; !l.controller {
		return
	}
	word := func(b []byte, i int) uint32 {
		if len(b) < 4*(i+1) {
			return 0
		}
		return binary.NativeEndian.Uint32(b[4*i:])
	}
	attributes(data, func(k int, body []byte) {
		switch k {
		case canTiming:
			l.bitrate = int(word(body, 0))
		case canDataTiming:
			l.dataRate = int(word(body, 0))
		case canState:
			l.state = busState(min(word(body, 0), uint32(stateUnknown)))
		case canControl:
			l.mode = word(body, 1)
		case canRestart:
			l.restartMS = int(word(body, 0))
		case canCounters:
			if len(body) >= 4 {
				l.txErrors, l.rxErrors = binary.NativeEndian.Uint16(body), binary.NativeEndian.Uint16(body[2:])
			}
		}
	})
	const statArbitration = 4
	l.lost = word(stats, statArbitration)
}
