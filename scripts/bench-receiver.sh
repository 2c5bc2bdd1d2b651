#!/usr/bin/env bash
# The receiver beside its peers, on one real Apache Kafka of one node: ingest beside
# a minimal MQTT hook, the sequencer beside a bare transactional copy; reorder, the
# time from a car's spool to a reader and to the live page, and memory. Installs
# what it needs into .cache/.
#
#   scripts/bench-receiver.sh [--only PART,…] [--repeats N]
#
# PART: reorder, windows, ingest, sequence, latency, rss.
# BENCH_KAFKA_PORT: of Kafka; the next one is used too (default 29692).
#
# Standard output: one line of JSON per figure, {"name","value","peer","ratio"};
# ingest and sequence in MB/s, the others as their names say; ratio = value / peer.
set -euo pipefail
cd "$(dirname "$0")/.."

case ${1-} in
-h | --help)
	sed -n '2,/^set /{/^set /d;s/^# \{0,1\}//;p;}' "$0"
	exit 0
	;;
esac

port=${BENCH_KAFKA_PORT:-29692}
state=$PWD/.cache/bench-receiver
mkdir -p "$state"
exec 8>"$state/lock"
flock 8 # the port is for one at a time
CGO_ENABLED=0 go build -trimpath -o "$state/bin/" ./cmd/receiver ./cmd/lab

# Kafka's log lies in memory where that is possible: gigabytes are written, and a
# disk that others use as well is not what is measured.
kafka=$state/kafka
[ ! -w /dev/shm ] || kafka=/dev/shm/bench-receiver-kafka

# shellcheck disable=SC2317 # the trap calls it
clean() {
	scripts/kafka.sh stop "$kafka" >&2
	rm -rf "${kafka:?}" "${state:?}/run"
}
clean
trap clean EXIT
mkdir "$state/run"
scripts/kafka.sh start "$kafka" "$port" >&2 8>&-
"$state/bin/lab" bench-receiver --bin "$state/bin" --dir "$state/run" --brokers "127.0.0.1:$port" "$@" 8>&-
