package mm

import (
	"context"
	"errors"
	"fmt"

	"github.com/godbus/dbus/v5"

	"telemetry/modem/keeper"
)

// System is the system's D-Bus, or another one.
type System struct {
	conn    *dbus.Conn
	changed chan struct{}
}

var _ Bus = (*System)(nil)

// Connect connects to the bus at address; "" means the system's.
func Connect(ctx context.Context, address string) (*System, error) {
	var conn *dbus.Conn
	var err error
	if address == "" {
		conn, err = dbus.ConnectSystemBus(dbus.WithContext(ctx))
	} else {
		conn, err = dbus.Connect(address, dbus.WithContext(ctx))
	}
	if err != nil {
		return nil, fmt.Errorf("%w: mm: connect to D-Bus: %w (is dbus running, and may this user use it?)", keeper.ErrNoService, err)
	}
	return &System{conn: conn, changed: make(chan struct{}, 1)}, nil
}

// Run listens for changes until ctx ends or the connection breaks, and closes it.
func (s *System) Run(ctx context.Context) (err error) {
	defer func() {
		if cerr := s.conn.Close(); cerr != nil && !errors.Is(cerr, dbus.ErrClosed) {
			err = errors.Join(err, fmt.Errorf("mm: close D-Bus: %w", cerr))
		}
	}()
	if err := s.conn.AddMatchSignalContext(ctx, dbus.WithMatchSender(Service), dbus.WithMatchInterface("org.freedesktop.DBus.Properties")); err != nil {
		return fmt.Errorf("mm: listen on D-Bus: %w", err)
	}
	signals := make(chan *dbus.Signal, 16)
	s.conn.Signal(signals)
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-s.conn.Context().Done():
			return fmt.Errorf("%w: D-Bus connection ended", keeper.ErrGone)
		case _, ok := <-signals:
			if !ok {
				return fmt.Errorf("%w: D-Bus connection ended", keeper.ErrGone)
			}
			select {
			case s.changed <- struct{}{}:
			default:
			}
		}
	}
}

// Changed receives a value when a property of ModemManager's objects changed.
func (s *System) Changed() <-chan struct{} { return s.changed }

// Objects asks for all objects and their properties.
func (s *System) Objects(ctx context.Context) (map[string]Object, error) {
	var got map[dbus.ObjectPath]map[string]map[string]dbus.Variant
	err := s.conn.Object(Service, Root).CallWithContext(ctx, "org.freedesktop.DBus.ObjectManager.GetManagedObjects", 0).Store(&got)
	if err != nil {
		return nil, lost(err)
	}
	out := map[string]Object{}
	for p, ifs := range got {
		o := Object{}
		for name, props := range ifs {
			o[name] = plainMap(props)
		}
		out[string(p)] = o
	}
	return out, nil
}

func lost(err error) error {
	if errors.Is(err, dbus.ErrClosed) {
		return fmt.Errorf("%w: %w", keeper.ErrGone, err)
	}
	return err
}

func plainMap(m map[string]dbus.Variant) map[string]any {
	out := make(map[string]any, len(m))
	for k, v := range m {
		out[k] = plain(v.Value())
	}
	return out
}

// plain turns D-Bus types into those of the language.
func plain(v any) any {
	switch v := v.(type) {
	case dbus.Variant:
		return plain(v.Value())
	case map[string]dbus.Variant:
		return plainMap(v)
	case map[uint32]dbus.Variant:
		out := make(map[uint32]any, len(v))
		for k, x := range v {
			out[k] = plain(x.Value())
		}
		return out
	case dbus.ObjectPath:
		return string(v)
	case []dbus.ObjectPath:
		out := make([]string, len(v))
		for i, p := range v {
			out[i] = string(p)
		}
		return out
	}
	return v
}

// Call calls a method and waits for its end.
func (s *System) Call(ctx context.Context, path, method string, args ...any) error {
	for i, a := range args {
		switch a := a.(type) {
		case ObjectPath:
			args[i] = dbus.ObjectPath(a)
		case map[string]any:
			m := map[string]dbus.Variant{}
			for k, v := range a {
				m[k] = dbus.MakeVariant(v)
			}
			args[i] = m
		}
	}
	return named(lost(s.conn.Object(Service, dbus.ObjectPath(path)).CallWithContext(ctx, method, 0, args...).Err))
}

// Running reports whether ModemManager is on the bus at address; "" means the
// system's. It does not start it.
func Running(ctx context.Context, address string) (there bool, err error) {
	s, err := Connect(ctx, address)
	if err != nil {
		return false, err
	}
	defer func() { err = errors.Join(err, s.conn.Close()) }()
	err = s.conn.BusObject().CallWithContext(ctx, "org.freedesktop.DBus.NameHasOwner", 0, Service).Store(&there)
	return there, err
}

// Unit is ModemManager's, for systemd.
const Unit = "ModemManager.service"

// Restart has systemd start ModemManager again, over the bus at address; ""
// means the system's. It needs the right to manage units (polkit).
func Restart(ctx context.Context, address string) (err error) {
	s, err := Connect(ctx, address)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.conn.Close()) }()
	o := s.conn.Object("org.freedesktop.systemd1", "/org/freedesktop/systemd1")
	if err := o.CallWithContext(ctx, "org.freedesktop.systemd1.Manager.RestartUnit", 0, Unit, "replace").Err; err != nil {
		return fmt.Errorf("mm: restart %s: %w (allow it to the agent's user with polkit, or run: systemctl restart ModemManager)", Unit, err)
	}
	return nil
}

// callError is an error of the far end, with its D-Bus name.
type callError struct{ err dbus.Error }

func (e callError) Error() string { return e.err.Error() }
func (e callError) Unwrap() error { return e.err }

// Name returns the error's D-Bus name.
func (e callError) Name() string { return e.err.Name }

func named(err error) error {
	if de := (dbus.Error{}); errors.As(err, &de) {
		return callError{de}
	}
	return err
}
