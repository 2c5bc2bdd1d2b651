package embedded

// Serve is [Listen] on a listener of the test.
var Serve = serve
