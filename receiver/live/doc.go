// Package live is the page for people: a wall of charts, cars, links, lanes, holes,
// laps and the track, in a browser, with server-sent events. [Listen] is the entry
// point.
//
// What it shows of the data comes from Kafka's output topics, so that the role
// runs alone; what the roles ingest and sequence of the same process know is
// added when they are there ([Options].Report), and values are shown as they
// arrive at ingest, before they are in order ([Server.Arrivals]). It never slows
// anybody: it keeps last values and the extremes per step of event time, not rows; a
// browser that reads slowly gets fewer frames with fewer points, for itself alone, and
// is told so; when the role cannot keep up with a topic, it goes on from the topic's
// end and counts what it skipped. The samples and late topics are followed only while
// somebody looks. A lane whose output format is `batch` is decoded here.
//
// It shows data to whoever reaches its port and passes [Options].Guard; a request for
// a loopback address under another name is refused (DNS rebinding).
//
// # Memory
//
// Of each channel the last value is kept (60 MB at [MaxChannels]); of the first 1,024,
// the last minute in steps of 100 ms (15 MB) and, of those of more than 10 Hz, the last
// 10 s in steps of 10 ms (17 MB); of those that somebody has charted, at most 256 at
// once, the pyramid of package strip: 774 KB each when full, 200 MB together, given back
// 10 minutes after the last look. Holes take 72 KB of a car, its way 72 KB, its lanes
// 16 KB, its sessions some 300 KB. A stream's kernel buffer is 64 KB.
//
// # HTTP
//
//	GET /                    the page; its files are those of package page
//	GET /healthz             200 while the process serves
//	GET /readyz              200 when every role serves, else 503 and the reasons
//	GET /metrics             the same for Prometheus
//	GET /api/v1/status       what `receiver status --json` prints
//	GET /api/v1/cars         {"instance","now_ms","lanes","cars":[…],"counters"}; a car as in [CarView]
//	GET /api/v1/cars/{car}   one of these, with all of its links, lanes and events ([CarDetail]); 404 for a car
//	                         that is not known
//	GET /api/v1/cars/{car}/channels?q=…&offset=…&limit=…
//	                         {"described","total","offset","channels":[{"id","name","group","unit","lane","description",
//	                         "enum"}]}, best fit first and then by name; q: words that the name, group or unit has;
//	                         limit at most 200
//	GET /api/v1/cars/{car}/channels?name=…&name=…
//	                         those with exactly these names, at most 200
//	GET /api/v1/cars/{car}/lanes
//	                         {"now_ms","step_ms","lanes":{"full":[[lag_ms, rows_s, holes] or null,…],…}}: what lanes were in
//	                         the last 2 minutes, oldest first, up to now; null is what nobody knows
//	GET /api/v1/cars/{car}/laps
//	                         {"sessions":[…]}, newest first, at most 3 ([Session])
//	GET /api/v1/cars/{car}/track
//	                         the car's way ([Track]), empty while no two channels of one group look like a position:
//	                         names with latitude and longitude (or lat and lon), unit deg
//	GET /api/v1/cars/{car}/window?charts=…&from_ms=…&to_ms=…&points=…
//	                         a stretch of event time of at most 10 hours: as "charts", with "coverage"
//	GET /api/v1/events?car=…&channels=1,2,…&charts=3,4,…&span_ms=…&points=…
//	                         server-sent events; without a car: only "cars"
//
// Everything else below /api/v1/ is [Options].Extra's. Times are UTC in ms. Ids of
// channels hold for one "instance". A stream has at most 200 channels and 64 charts;
// its events, each one JSON object, are:
//
//	cars      as /api/v1/cars, every 2 s
//	car       as /api/v1/cars/{car}, every 500 ms
//	values    {"now_ms","values":[[id, value, time_ms, lane, synced],…]}: what has changed, at most every 8 ms
//	charts    {"now_ms","kept_from_ms","step_ms","reset","series":[[id, slot, [min,max,min,max,…]],…]}: what has changed,
//	          at most every 50 ms. slot is event time in steps, the steps of a run follow each other; null,null has no
//	          value; a step that comes again replaces the earlier one, as when late data fills a hole. After a reset
//	          nothing sent before holds. Steps are the narrowest of 1, 2 or 5 times a power of ten with which span_ms has at
//	          most points of them; they hold the extremes of all samples: no peak is lost. now_ms is the right edge.
//	coverage  {"now_ms","lanes":{"full":[[from_ms, to_ms, "open"|"late"|"lost", reason?],…]}}: the holes of the last
//	          span_ms, when they have changed, from 0.5 s of age on. Batches of an open hole are waited for; late ones have
//	          missed their window and may still come; lost ones never will.
//	laps      as /api/v1/cars/{car}/laps, when it has changed
//	pace      {"every_ms","points","level","why"}: what this viewer gets from now on, because it reads slowly (level 1
//	          to 4) or does not any more (0)
//
// At a limit the answer is 503 and says which.
//
// # Replays
//
// [Server.AddReplay] adds a car that is a recording: its values come by a [Feed], its
// clock is the recording's, and "replay" in "cars" and "car" says so.
package live
