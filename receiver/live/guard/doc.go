// Package guard decides who may ask the page for what: a login by token, or the
// word of a trusted proxy, and a role for every path. [New] is the entry point,
// [Guard.Wrap] what stands in front of the page.
//
// A token is 256 random bits; the file that knows it has its SHA-256 only. A slow
// hash would add nothing: it makes guessing passwords slow, and there is nothing to
// guess in a random number of that size. A login changes a token for a cookie that
// lives in this process: logout, a revoked or expired token and a change of role
// count from the next request on, and end streams that are open.
//
// It never logs or stores a token or a cookie, never believes a proxy's header
// from any other address, and lets nobody but an admin through to a path that
// [Routes] does not have.
//
// # HTTP
//
//	POST /api/v1/login    {"token"} → {"name","role","login"} and the cookie
//	POST /api/v1/logout   204
//	GET  /api/v1/me       {"name","role","login"}: login is false where nobody is asked
//
// 401 {"error","login"}: nobody has logged in; 403 and a text: who it is may not do
// that, or a page from elsewhere asks; 429: too many wrong tokens.
package guard
