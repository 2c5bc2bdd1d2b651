package guard

import (
	"context"
	"fmt"
)

// Role is what somebody may do. Each includes those before it; the zero value may
// do nothing that needs one.
type Role int

// Roles.
const (
	Nobody   Role = iota
	Viewer        // watches cars as they are
	Engineer      // reads the past, exports, replays
	Admin         // sees the process too
)

var roleNames = [...]string{Nobody: "none", Viewer: "viewer", Engineer: "engineer", Admin: "admin"}

// String returns the name of a role.
func (r Role) String() string {
	if r < 0 || int(r) >= len(roleNames) {
		return fmt.Sprintf("role %d", int(r))
	}
	return roleNames[r]
}

// ParseRole reads viewer, engineer or admin.
func ParseRole(s string) (Role, error) {
	for r := Viewer; r <= Admin; r++ {
		if roleNames[r] == s {
			return r, nil
		}
	}
	return Nobody, fmt.Errorf("guard: %q is no role (want viewer, engineer or admin)", s)
}

// MarshalText implements encoding.TextMarshaler.
func (r Role) MarshalText() ([]byte, error) { return []byte(r.String()), nil }

// UnmarshalText implements encoding.TextUnmarshaler; none is no role of a token.
func (r *Role) UnmarshalText(b []byte) (err error) {
	*r, err = ParseRole(string(b))
	return err
}

// Ways in which somebody is known.
const (
	ByNothing = "nothing" // nobody is asked
	ByCookie  = "cookie"
	ByBearer  = "bearer" // a token in the header Authorization
	ByProxy   = "proxy"
)

// Who is somebody that asks.
type Who struct {
	Name string
	Role Role
	By   string
}

type whoKey struct{}

// FromContext returns who asks; behind no guard that is an admin without a name.
func FromContext(ctx context.Context) Who {
	if w, ok := ctx.Value(whoKey{}).(Who); ok {
		return w
	}
	return Who{Role: Admin, By: ByNothing}
}
