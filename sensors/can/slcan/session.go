package slcan

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"telemetry/sensors/serialport"
)

// Timing of the talk with an adapter.
const (
	answerWait = 300 * time.Millisecond // for the answer to one command
	greetFor   = 4 * time.Second        // boards that restart when opened take up to 2 s
	quietFor   = 30 * time.Millisecond  // no bytes for so long: nothing old is left
	drainFor   = time.Second            // a closed adapter is silent long before
	readBytes  = 4096
)

// errNoAnswer is returned when a command was not answered in time.
var errNoAnswer = errors.New("no answer")

// errRefused is returned when a command was answered with BEL.
var errRefused = errors.New("refused")

// session is one open adapter. It is owned by Run.
type session struct {
	*Source
	port   *serialport.Port
	traits traits
	split  splitter
	buf    [readBytes]byte
	unread []byte // of buf: came with the last answer
	digits int    // stamp digits that lines have; -1: not known
}

// begin sets the adapter up and opens its channel.
func (s *session) begin(ctx context.Context) error {
	if ftdi, err := serialport.LowLatency(s.port.Path()); err != nil {
		s.log.Warn("usb latency timer not set, stamps by the host are late by up to 16 ms", "port", s.port.Path(), "error", err)
	} else if ftdi {
		s.log.Debug("usb latency timer set", "port", s.port.Path())
	}
	if !s.traits.answers {
		return s.beginBlind()
	}
	version, err := s.greet(ctx)
	if err != nil {
		return err
	}
	serial, _ := s.ask("N", "N")
	commands, err := s.cfg.setup(s.traits)
	if err != nil {
		return err
	}
	for _, c := range commands {
		if _, err := s.ask(c, ""); err != nil {
			return s.fault("set bit rate by "+c, err, "has the adapter that rate? (clones differ at S7; timing sets any)")
		}
	}
	if err := s.askStamps(); err != nil {
		return err
	}
	mode, err := s.open()
	if err != nil {
		return err
	}
	s.log.Info("can adapter opened", "port", s.port.Path(), "version", version, "serial", serial, "mode", mode, "stamp_digits", s.digits)
	return nil
}

// fault explains an error of the talk.
func (s *session) fault(what string, err error, remedy string) error {
	return fmt.Errorf("slcan: adapter at %s: %s: %w: %s", s.port.Path(), what, err, remedy)
}

// beginBlind sets up an adapter that answers nothing.
func (s *session) beginBlind() error {
	commands, err := s.cfg.setup(s.traits)
	if err != nil {
		return err
	}
	mode := s.traits.listen
	if s.cfg.Listen == ListenNever {
		mode = s.traits.normal
	}
	if err := s.send("C"); err != nil {
		return err
	}
	if err := s.drain(); err != nil {
		return err
	}
	for _, c := range append(commands, mode, "O") {
		if err := s.send(c); err != nil {
			return err
		}
	}
	s.digits = digitsNone
	s.log.Info("can adapter opened", "port", s.port.Path(), "mode", mode)
	return nil
}

// greet closes the channel, which an earlier program may have left open, and
// asks for the version until the adapter answers.
func (s *session) greet(ctx context.Context) (version string, err error) {
	for end := time.Now().Add(greetFor); ; {
		if err := ctx.Err(); err != nil {
			return "", err
		}
		// A refusal is an answer too: the channel was closed, or the rest of a
		// command that somebody had begun came before this one.
		_, err = s.ask("C", "")
		if err == nil || errors.Is(err, errRefused) {
			version, err = s.ask("V", "V")
			if err == nil || errors.Is(err, errRefused) {
				return strings.TrimPrefix(version, "V"), nil
			}
		}
		if !errors.Is(err, errNoAnswer) {
			return "", err
		}
		if time.Now().After(end) {
			return "", s.fault("close channel", err, fmt.Sprintf("is it an SLCAN adapter, is its baud rate %d? (dialect %s is for firmware that never answers)", s.cfg.Baud, CANable))
		}
		if err := s.drain(); err != nil {
			return "", err
		}
	}
}

// askStamps turns stamps on or off.
func (s *session) askStamps() error {
	command, digits := s.cfg.stampCommand(s.traits)
	s.digits = digits
	if command == "" {
		return nil
	}
	_, err := s.ask(command, "")
	if errors.Is(err, errRefused) && command == "Z2" && s.cfg.Stamps == StampAuto {
		s.digits = digitsMilli
		_, err = s.ask("Z1", "")
	}
	switch {
	case err == nil:
		return nil
	case !errors.Is(err, errRefused):
		return s.fault("set time stamps", err, "replug it")
	case s.cfg.Stamps == StampMilli || s.cfg.Stamps == StampMicro:
		return s.fault("set time stamps by "+command, err, "has its firmware such stamps? (stamps by the host always work)")
	}
	s.digits = -1 // a clone that can't be told: the first lines show what it does
	s.log.Warn("adapter refused the time stamp command", "port", s.port.Path(), "command", command)
	return nil
}

// open opens the channel, listen-only if wanted and possible.
func (s *session) open() (mode string, err error) {
	if s.cfg.Listen != ListenNever {
		_, err = s.ask(s.traits.listen, "")
		switch {
		case err == nil:
			return "listen-only", nil
		case !errors.Is(err, errRefused):
			return "", s.fault("open channel", err, "replug it")
		case s.cfg.Listen == ListenAlways:
			return "", s.fault("open channel listen-only", err, "has its firmware that mode? (else allow normal mode: nothing is sent, but frames of others are acknowledged)")
		}
		s.log.Warn("adapter refused listen-only mode, frames will be acknowledged", "port", s.port.Path())
	}
	if _, err := s.ask(s.traits.normal, ""); err != nil {
		return "", s.fault("open channel", err, "is the bus connected and its bit rate right? replug the adapter")
	}
	return "normal", nil
}

// send writes one command.
func (s *session) send(command string) error { return s.port.Write([]byte(command + "\r")) }

// ask sends a command and returns its answer: a line that begins with want, or,
// if want is empty, an empty line. Other lines are frames and answers from
// before; they are counted as stale.
func (s *session) ask(command, want string) (string, error) {
	if err := s.send(command); err != nil {
		return "", err
	}
	for end := time.Now().Add(answerWait); ; {
		for len(s.unread) > 0 {
			tok, line, n := s.split.next(s.unread)
			s.unread = s.unread[n:]
			switch {
			case tok == tokenBell:
				return "", errRefused
			case tok == tokenLine && want == "" && len(line) == 0,
				tok == tokenLine && want != "" && strings.HasPrefix(string(line), want):
				return string(line), nil
			case tok == tokenLong || tok == tokenLine && len(line) > 0:
				s.count.stale.Add(1)
			}
		}
		left := time.Until(end)
		if left <= 0 {
			return "", fmt.Errorf("%w to %s within %v", errNoAnswer, command, answerWait)
		}
		n, err := s.port.Read(s.buf[:], left)
		if err != nil {
			return "", err
		}
		s.count.bytes.Add(uint64(n))
		s.unread = s.buf[:n]
	}
}

// drain throws away what an adapter had to say before.
func (s *session) drain() error {
	s.unread = nil
	for end := time.Now().Add(drainFor); time.Now().Before(end); {
		n, err := s.port.Read(s.buf[:], quietFor)
		if err != nil || n == 0 {
			s.split = splitter{}
			return err
		}
		s.count.bytes.Add(uint64(n))
	}
	s.split = splitter{}
	return nil
}
