package external

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"

	"github.com/eclipse/paho.golang/packets"
	"github.com/eclipse/paho.golang/paho"
)

// Fault is why there is no connection, and what to do about it.
type Fault struct {
	Address string
	Step    string // "dial", "tls", "connect", "subscribe", "serve"
	Reason  string // in words; "" leaves it to Err
	Code    byte   // MQTT 5 reason code; 0 means that none came
	Remedy  string // may be ""
	Refused bool   // the broker, or what we know of it, says no: only people change that
	Err     error  // the cause; may be nil
}

// Error names the broker, the step, the cause and the remedy.
func (f *Fault) Error() string {
	s := fmt.Sprintf("external: broker %s: %s", f.Address, f.Step)
	if f.Reason != "" {
		s += ": " + f.Reason
	}
	if f.Code != 0 {
		s += fmt.Sprintf(" (code 0x%02x)", f.Code)
	}
	if f.Err != nil {
		s += ": " + f.Err.Error()
	}
	if f.Remedy != "" {
		s += " (" + f.Remedy + ")"
	}
	return s
}

// Unwrap returns the cause.
func (f *Fault) Unwrap() error { return f.Err }

const (
	remedyAccess = "allow this user, the common name of its certificate or the user's name, to read tele/# and write ctl/#"
	remedyLogin  = "check the certificate or user and password that the broker knows for this receiver"
	remedyOld    = "use a broker that speaks MQTT 5, for one Mosquitto 1.6 or later"
)

// dialFault explains why there is no TCP connection.
func dialFault(addr string, err error) *Fault {
	return &Fault{Address: addr, Step: "dial", Err: err, Remedy: "is it running, and are address, port and firewall right?"}
}

// tlsFault explains why the TLS handshake failed.
func tlsFault(addr string, err error) *Fault {
	f := &Fault{Address: addr, Step: "tls", Err: err, Refused: true}
	var (
		unknown x509.UnknownAuthorityError
		host    x509.HostnameError
		invalid x509.CertificateInvalidError
		record  tls.RecordHeaderError
	)
	switch {
	case errors.As(err, &unknown):
		f.Remedy = "its certificate is not of the configured authority: set client.ca to the authority that signed it"
	case errors.As(err, &host):
		f.Remedy = "its certificate is for another name: set client.server_name to one that it has"
	case errors.As(err, &invalid):
		f.Remedy = "its certificate is not valid now or not for a server: check both clocks and the certificate"
	case errors.As(err, &record):
		f.Remedy = "this port does not speak TLS: use the broker's TLS port, or tcp://"
	case remote(err):
		f.Remedy = "it does not accept our certificate: it must be of the authority that the broker trusts, and in date"
	default:
		f.Refused = false
	}
	return f
}

// remote reports whether the other side has ended TLS with an alert. With TLS 1.3
// that is how a refused certificate shows, after the handshake.
func remote(err error) bool {
	var op *net.OpError
	return errors.As(err, &op) && op.Op == "remote error"
}

// connectFault explains why CONNECT failed.
func connectFault(addr string, ack *paho.Connack, s *socket, err error) *Fault {
	f := &Fault{Address: addr, Step: "connect", Err: err}
	switch {
	case s.old():
		f.Err, f.Refused, f.Reason, f.Remedy = nil, true, "it does not speak MQTT 5", remedyOld
	case ack != nil && ack.ReasonCode >= 0x80:
		f.Err, f.Refused, f.Code = nil, true, ack.ReasonCode
		f.Reason = firstLine((&packets.Connack{ReasonCode: ack.ReasonCode}).Reason())
		if ack.Properties != nil && ack.Properties.ReasonString != "" {
			f.Reason = ack.Properties.ReasonString
		}
		f.Remedy = connackRemedy(ack.ReasonCode)
		f.Refused = ack.ReasonCode != packets.ConnackServerUnavailable && ack.ReasonCode != packets.ConnackServerBusy
	case remote(err):
		f.Refused, f.Remedy = true, "it does not accept our certificate: set client.cert and client.key to one of the authority that the broker trusts"
	case errors.Is(err, io.EOF) && s.silent():
		f.Remedy = "it hung up without a word: " + remedyOld + ", over TLS if the port wants that; or it is full"
	}
	return f
}

func connackRemedy(code byte) string {
	switch code {
	case packets.ConnackUnsupportedProtocolVersion:
		return remedyOld
	case packets.ConnackInvalidClientID:
		return "the broker's rules for client ids turn ours away"
	case packets.ConnackBadUsernameOrPassword, packets.ConnackNotAuthorized, packets.ConnackBadAuthenticationMethod:
		return remedyLogin
	case packets.ConnackBanned:
		return "the broker has banned this client"
	case packets.ConnackUseAnotherServer, packets.ConnackServerMoved:
		return "set the address of the server that it names"
	}
	return ""
}

// unfit explains what a broker that took us cannot do, or nil.
func unfit(addr string, p *paho.ConnackProperties) *Fault {
	if p == nil {
		return nil
	}
	f := &Fault{Address: addr, Step: "connect", Refused: true}
	switch {
	case !p.SharedSubAvailable:
		f.Reason, f.Remedy = "it has no shared subscriptions", "enable them: instances share the cars by them"
	case !p.WildcardSubAvailable:
		f.Reason, f.Remedy = "it has no wildcards in subscriptions", "enable them: cars are not listed anywhere"
	default:
		return nil
	}
	return f
}

// subscribeFault explains why a subscription failed.
func subscribeFault(addr string, filters []string, ack *paho.Suback, err error) *Fault {
	f := &Fault{Address: addr, Step: "subscribe", Err: err}
	if ack == nil {
		return f
	}
	for i, code := range ack.Reasons {
		if code < 0x80 || i >= len(filters) {
			continue
		}
		f.Err, f.Refused, f.Code = nil, true, code
		f.Reason = filters[i] + ": " + firstLine((&packets.Suback{Reasons: ack.Reasons}).Reason(i))
		if f.Remedy = remedyAccess; code == packets.SubackSharedSubscriptionnotsupported || code == packets.SubackWildcardsubscriptionsnotsupported {
			f.Remedy = "enable shared subscriptions and wildcards"
		}
		if ack.Properties != nil && ack.Properties.ReasonString != "" {
			f.Reason = filters[i] + ": " + ack.Properties.ReasonString
		}
		return f
	}
	return f
}

// endFault explains why an established connection ended.
func endFault(addr string, d *paho.Disconnect, err error) *Fault {
	f := &Fault{Address: addr, Step: "serve", Err: err}
	if d == nil {
		return f
	}
	f.Err, f.Code, f.Reason = nil, d.ReasonCode, firstLine((&packets.Disconnect{ReasonCode: d.ReasonCode}).Reason())
	if d.Properties != nil && d.Properties.ReasonString != "" {
		f.Reason = d.Properties.ReasonString
	}
	switch d.ReasonCode {
	case packets.DisconnectSessionTakenOver:
		f.Remedy = "another client has our client id: let it be made, or set another"
	case packets.DisconnectNotAuthorized, packets.DisconnectAdministrativeAction:
		f.Remedy, f.Refused = remedyAccess, true
	case packets.DisconnectPacketTooLarge:
		f.Remedy = fmt.Sprintf("let the broker take packets of %d bytes", maxPacket)
	}
	return f
}

// firstLine shortens a reason of the specification to its first clause.
func firstLine(s string) string {
	s, _, _ = strings.Cut(s, "\n")
	if head, _, ok := strings.Cut(s, " - "); ok {
		return head
	}
	return strings.TrimSuffix(s, ".")
}
