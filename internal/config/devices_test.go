package config

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestDeviceFaults reads one wrong key at a time and asks for its place and what
// was expected.
func TestDeviceFaults(t *testing.T) {
	for _, c := range []struct{ name, source, want string }{
		{"gnss without a port", "gnss: {}", "sources[0].gnss.port: "},
		{"port and file", "gnss: {port: a, file: b}", "one of them is wanted"},
		{"baud", "gnss: {port: a, baud: fast}", "gnss.baud: "},
		{"auto among others", "gnss: {port: a, baud: [auto, 9600]}", "auto beside other"},
		{"protocol", "gnss: {port: a, protocol: sirf}", `"sirf" is no protocol`},
		{"rate", "gnss: {port: a, rate: 3Hz}", "gnss.rate: "},
		{"rate without unit", "gnss: {port: a, rate: 25}", "has no unit"},
		{"rate of a file", "gnss: {file: a, rate: 5Hz}", "needs a port"},
		{"latency alone", "gnss: {port: a, latency: 50ms}", "gnss.latency_error: "},
		{"no day", "gnss: {port: a, not_before: yesterday}", "is no day"},
		{"serial without anything", "serial: {port: a}", "serial.packets: is missing"},
		{"framing", "serial: {port: a, framing: hdlc, packets: [{name: p, row: [{name: a, type: u8}]}]}", "none of cobs, slip"},
		{"crc", "serial: {port: a, crc: crc32, packets: [{name: p, row: [{name: a, type: u8}]}]}", "serial.crc: "},
		{"type", "serial: {port: a, packets: [{name: p, row: [{name: a, type: u12}]}]}", "packets[0].row[0].type: "},
		{"role", "serial: {port: a, packets: [{name: p, head: [{type: u8, is: checksum}], row: [{name: a, type: u8}]}]}", "head[0].is: "},
		{"tick without its length", "serial: {port: a, packets: [{name: p, head: [{type: u8, is: tick}], row: [{name: a, type: u8}]}]}", "packets[0].tick: "},
		{"length of a tick", "serial: {port: a, packets: [{name: p, tick: 3, row: [{name: a, type: u8}]}]}", "is no length"},
		{"row", "serial: {port: a, packets: [{name: p}]}", "packets[0].row: is missing"},
		{"udp without an address", "udp: {streams: [{name: p, row: [{name: a, type: u8}]}]}", "udp.listen: "},
		{"udp without a port", "udp: {listen: 0.0.0.0, streams: [{name: p, row: [{name: a, type: u8}]}]}", "udp.listen: "},
		{"group", "udp: {listen: '0.0.0.0:1', group: 10.0.0.1, streams: [{name: p, row: [{name: a, type: u8}]}]}", "no multicast"},
		{"twice", "udp: {listen: '0.0.0.0:1', streams: [{name: p, row: [{name: a, type: u8}]}, {name: q, row: [{name: a, type: u8}]}]}", "streams[1].id: "},
		{"bus", "imu: {bus: usb}", "imu.bus: "},
		{"no bus", "imu: {}", "imu.bus: is missing"},
		{"fast", "imu: {bus: spi0.0, rate: 10kHz, filter: {oversample: 4}}", "imu.rate: "},
		{"priority", "imu: {bus: spi0.0, thread: {realtime: 100}}", "thread.realtime: "},
		{"chip", "adc: {chip: ads1015, bus: i2c-1, inputs: [{name: a}]}", "adc.chip: "},
		{"chip on the other bus", "adc: {chip: mcp3208, bus: i2c-1, reference: 3.3, inputs: [{name: a}]}", "there is no mcp3208"},
		{"reference", "adc: {chip: mcp3208, bus: spi0.0, inputs: [{name: a}]}", "adc.reference: "},
		{"address", "adc: {chip: ads1115, bus: i2c-1, address: 0x100, inputs: [{name: a}]}", "adc.address: "},
		{"iio", "iio: {}", "iio.device: "},
		{"watermark", "iio: {device: a, length: 10, watermark: 20}", "iio.watermark: "},
	} {
		got := faultsOf(t, "sources: [{name: s, "+c.source+"}]\n")
		if !strings.Contains(got, c.want) || !strings.Contains(got, ":5:") {
			t.Errorf("%s: got %q, want %q in line 5", c.name, got, c.want)
		}
	}
	for _, c := range []struct{ name, session, want string }{
		{"line without length", `{start: {a: "1, 2", b: "1, 2"}}`, "session.start: has no length"},
		{"no position", `{start: {a: "91, 2", b: "1, 2"}}`, "session.start.a: "},
		{"direction", `{start: {a: "1, 2", b: "1, 3", direction: north}}`, "session.start.direction: "},
		{"two ways", `{lap_channel: lap, start: {a: "1, 2", b: "1, 3"}}`, "session.lap_channel: "},
		{"sectors alone", `{sectors: [{a: "1, 2", b: "1, 3"}]}`, "session.sectors: need start"},
		{"autostart alone", `{autostart: true}`, "session.autostart: "},
		{"long", `{shortest_lap: 2h}`, "session.shortest_lap: "},
	} {
		if got := faultsOf(t, "sources: [{name: s, sim: {}}]\nsession: "+c.session+"\n"); !strings.Contains(got, c.want) {
			t.Errorf("%s: got %q, want %q", c.name, got, c.want)
		}
	}
}

func faultsOf(t *testing.T, yaml string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "car.yaml")
	head := "version: 1\ncar: car-7\nspool: {dir: spool, quota: 10MB}\nsocket: a.sock\n"
	if err := os.WriteFile(file, []byte(head+yaml), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := ReadAgent(file); err != nil {
		return err.Error()
	}
	return ""
}
