package guard

import "net/http"

// Route is what one path needs.
type Route struct {
	Pattern string // as of net/http
	Role    Role   // Nobody: open
	Bearer  bool   // a token in the header Authorization is enough, whatever its role: for machines
}

// Routes is every path behind the guard. What is not here needs an admin.
var Routes = []Route{
	// The page's own files: the same for everybody, without data, and with the
	// form to log in.
	{Pattern: "GET /"},
	{Pattern: "GET /healthz"},
	{Pattern: "GET /readyz"},
	{Pattern: "POST " + loginPath},
	{Pattern: "POST " + logoutPath},
	{Pattern: "GET " + mePath, Role: Viewer},

	// The cars as they are.
	{Pattern: "GET /api/v1/cars", Role: Viewer},
	{Pattern: "GET /api/v1/cars/{car}", Role: Viewer},
	{Pattern: "GET /api/v1/cars/{car}/channels", Role: Viewer},
	{Pattern: "GET /api/v1/cars/{car}/lanes", Role: Viewer},
	{Pattern: "GET /api/v1/cars/{car}/laps", Role: Viewer},
	{Pattern: "GET /api/v1/cars/{car}/track", Role: Viewer},
	{Pattern: "GET /api/v1/cars/{car}/window", Role: Viewer},
	{Pattern: "GET /api/v1/events", Role: Viewer},

	// The past: it costs Kafka and this process something, and leaves the house.
	{Pattern: "GET /api/v1/cars/{car}/sessions", Role: Engineer},
	{Pattern: "GET /api/v1/cars/{car}/past", Role: Engineer},
	{Pattern: "GET /api/v1/cars/{car}/compare", Role: Engineer},
	{Pattern: "GET /api/v1/cars/{car}/export", Role: Engineer},
	{Pattern: "GET /api/v1/cars/{car}/whatif", Role: Engineer},
	{Pattern: "GET /api/v1/replays", Role: Engineer},
	{Pattern: "POST /api/v1/replays", Role: Engineer},
	{Pattern: "GET /api/v1/replays/{id}", Role: Engineer},
	{Pattern: "POST /api/v1/replays/{id}", Role: Engineer},
	{Pattern: "DELETE /api/v1/replays/{id}", Role: Engineer},

	// The process.
	{Pattern: "GET /api/v1/status", Role: Admin},
	{Pattern: "GET /metrics", Role: Admin, Bearer: true},
	{Pattern: "GET /api/", Role: Admin}, // or "GET /" would have what is new
}

// Paths that the guard answers itself.
const (
	loginPath  = "/api/v1/login"
	logoutPath = "/api/v1/logout"
	mePath     = "/api/v1/me"
)

// table finds the route of a request as the page's own mux does.
type table struct {
	mux    *http.ServeMux
	routes map[string]Route
}

func newTable(routes []Route) *table {
	t := &table{http.NewServeMux(), map[string]Route{}}
	for _, r := range routes {
		t.mux.HandleFunc(r.Pattern, http.NotFound)
		t.routes[r.Pattern] = r
	}
	return t
}

// find returns the route of a request; of one that is not there, that of admins.
func (t *table) find(r *http.Request) Route {
	_, pattern := t.mux.Handler(r)
	if route, ok := t.routes[pattern]; ok {
		return route
	}
	return Route{Role: Admin}
}
