package guard

import (
	"net/http"
	"net/url"
	"strings"
)

// origin is where a request was made.
type origin int

const (
	originUnknown origin = iota // no browser says so: a script
	originSame                  // the page itself
	originOther                 // another page, or a click on a link
)

// originOf reads what browsers add and pages cannot forge. Behind a proxy Host may
// be another than what the browser asked for; Sec-Fetch-Site is right all the same.
func originOf(r *http.Request, trusted bool) origin {
	switch r.Header.Get("Sec-Fetch-Site") {
	case "same-origin":
		return originSame
	case "":
	default:
		return originOther
	}
	values := r.Header.Values("Origin")
	if len(values) == 0 {
		return originUnknown
	}
	u, err := url.Parse(values[0])
	if err != nil || len(values) > 1 || u.Host == "" || r.TLS != nil && u.Scheme != "https" {
		return originOther // "null" too: a sandboxed page, or a redirect
	}
	if strings.EqualFold(u.Host, r.Host) || trusted && strings.EqualFold(u.Host, r.Header.Get("X-Forwarded-Host")) {
		return originSame
	}
	return originOther
}

// changes reports whether a request may change something.
func changes(r *http.Request) bool {
	return r.Method != http.MethodGet && r.Method != http.MethodHead && r.Method != http.MethodOptions
}

// crossSite reports whether a page from elsewhere made a request, whatever it is
// for: it could not read the answer, but take a place of the open streams.
func crossSite(r *http.Request) bool {
	s := r.Header.Get("Sec-Fetch-Site")
	return s == "cross-site" || s == "same-site"
}
