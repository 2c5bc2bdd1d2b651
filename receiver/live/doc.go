// Package live is the page for people: cars, links, lanes, last values and one
// chart, in a browser, with server-sent events. [Listen] is the entry point.
//
// What it shows of the data comes from Kafka's output topics, so that the role
// runs alone; what the roles ingest and sequence of the same process know is
// added when they are there ([Options].Report), and values are shown as they
// arrive at ingest, before they are in order ([Server.Preview]). It never slows anybody: it
// keeps last values, not rows; a browser that reads slowly misses frames; when it
// cannot keep up with a topic itself, it goes on from the topic's end and counts
// what it skipped. The samples and late topics are followed only while somebody
// looks. It shows data to whoever reaches its port, so it listens on 127.0.0.1
// unless told otherwise; a request for a loopback address under another name is
// refused (DNS rebinding).
//
// # HTTP
//
//	GET /                    the page
//	GET /healthz             200 while the process serves
//	GET /readyz              200 when every role serves, else 503 and the reasons
//	GET /metrics             the same for Prometheus
//	GET /api/v1/status       what `receiver status --json` prints
//	GET /api/v1/cars         {"instance","now_ms","cars":[{"car","session","channels","seen_ms","synced"}],"counters"}
//	GET /api/v1/cars/{car}   one of these, with "links", "lanes" and "events"; 404 for a car that is not known
//	GET /api/v1/cars/{car}/channels?q=…&offset=…&limit=…
//	                         {"total","offset","channels":[{"id","name","group","unit","description","enum"}]} by name;
//	                         q: words that the name, group or unit has; limit at most 200
//	GET /api/v1/events?car=…&channels=1,2,…&chart=…
//	                         server-sent events; without a car: only "cars"
//
// Ids of channels hold for one "instance". The stream's events, each one JSON
// object: "cars" (as /api/v1/cars, every 2 s), "car" (as /api/v1/cars/{car}, every
// 500 ms), "values" at most every 8 ms: {"now_ms","values":[[id, value, time_ms,
// lane, synced],…]} with what has changed, and "chart" at most every 100 ms:
// {"id","step_ms","reset","bins":[[slot, min, max],…]}, slot = UTC in steps. At a
// limit the answer is 503 and says which.
package live
