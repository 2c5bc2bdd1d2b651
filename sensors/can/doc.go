// Package can turns CAN frames into rows: it reads candump logs, replays them in
// time and decodes frames with DBC databases.
//
// The entry points are [NewReplay], a source that plays a log, [NewReader] for
// the frames of a log without timing, and [NewDecoder] for frames from
// elsewhere.
//
// The package never stops at a bad line, an unknown id or a frame of the wrong
// length: it counts them and goes on. It never clamps a value and never
// transmits.
package can
