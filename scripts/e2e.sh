#!/usr/bin/env bash
# Plays a real CAN log through the real binaries and three bad links, one of which
# falls silent for 10 s and one of which is closed and opened again, and compares
# what is in Kafka with cantools' own decoding of the log: every value, every
# time, nothing missing, nothing double. Once with the embedded Kafka and once
# with a real Apache Kafka. Installs what it needs into .cache/.
#
#   scripts/e2e.sh [--embedded | --kafka] [--other] [--keep]
#
#   --embedded   only the run with the embedded Kafka
#   --kafka      only the run with Apache Kafka
#   --other      play a made-up log of another car: several interfaces, CAN FD,
#                extended and unknown ids, multiplexed, float, signed and named
#                signals, damaged lines, a DBC with errors
#   --keep       leave state and logs of the runs in .cache/e2e/
#
# Environment:
#   E2E_LOG      candump log, plain, .gz or .zst   (default ../shared/data/can_subaru_candump.log.gz)
#   E2E_DBC      its DBC, for the first interface  (default ../shared/data/can_subaru.dbc)
#   E2E_ORACLE_DBC  another copy of it for cantools, which refuses a DBC with errors
#                that we tolerate               (default E2E_DBC)
#   E2E_SPEED    times as fast as recorded         (default 10)
#   E2E_SECONDS  play no more of the log than fits into so many seconds of a run
#                (default all of it)
#   E2E_SILENCE  how long the silent link is silent (default 10s)
#   E2E_KAFKA_PORT  of Apache Kafka; the next one is used too (default 29392)
#
# In a hurry: E2E_SECONDS=5 E2E_SILENCE=5s, whatever the log; both runs together
# end within a minute once everything is installed.
#
# Without ../shared and without E2E_LOG the made-up log is played.
#
# Standard output: one line of JSON per run,
#   {"kafka","expected","delivered","missing","duplicates","value_errors","max_time_error_us","seconds"}
# Exit code: 0 when nothing differs.
set -euo pipefail
cd "$(dirname "$0")/.."

usage() { sed -n '2,/^set /{/^set /d;s/^# \{0,1\}//;p;}' "$0"; }
fail() { echo "e2e: $*" >&2; exit 2; }

runs=(embedded kafka) other='' keep=''
while [ $# -gt 0 ]; do
	case $1 in
	--embedded) runs=(embedded) ;;
	--kafka) runs=(kafka) ;;
	--other) other=1 ;;
	--keep) keep=1 ;;
	-h | --help) usage; exit 0 ;;
	*) usage >&2; exit 2 ;;
	esac
	shift
done

python=$(scripts/python.sh)
state=$PWD/.cache/e2e
mkdir -p "$state"
exec 8>"$state/lock"
flock 8 # ports and folders are for one at a time
(cd lab/e2e && "$python" -B -m unittest --quiet compare_test) >&2 || fail "the comparison does not find what it should"
CGO_ENABLED=0 go build -trimpath -o "$state/bin/" ./cmd/edgeagent ./cmd/receiver ./cmd/lab

log=${E2E_LOG:-../shared/data/can_subaru_candump.log.gz}
dbc=${E2E_DBC:-../shared/data/can_subaru.dbc}
options=(--speed "${E2E_SPEED:-10}" --silence "${E2E_SILENCE:-10s}")
[ -z "${E2E_ORACLE_DBC:-}" ] || options+=(--oracle-dbc "$E2E_ORACLE_DBC")
[ -z "${E2E_SECONDS:-}" ] || options+=(--play "${E2E_SECONDS}s")
if [ -z "$other" ] && [ -z "${E2E_LOG:-}" ] && [ ! -e "$log" ]; then
	echo "e2e: no log in ../shared: playing a made-up one" >&2
	other=1
fi
if [ -n "$other" ]; then
	"$python" -B lab/e2e/othercar.py "$state/other"
	log=$state/other/car.log dbc=$state/other/faulty.dbc
	options+=(--oracle-dbc "$state/other/car.dbc")
elif [ -n "${E2E_LOG:-}" ] && [ -z "${E2E_DBC:-}" ]; then
	fail "E2E_LOG is set, E2E_DBC is not: a log of another car needs its own DBC"
fi
for f in "$log" "$dbc"; do
	[ -r "$f" ] || fail "cannot read $f"
done

kafka_dir=$state/kafka
kafka_port=${E2E_KAFKA_PORT:-29392}

bad=0
for run in "${runs[@]}"; do
	args=(--bin "$state/bin" --log "$log" --dbc "$dbc" --python "$python" --scripts lab/e2e --cache "$state/decoded" "${options[@]}")
	if [ -n "$keep" ]; then
		rm -rf "${state:?}/$run"
		args+=(--dir "$state/$run")
	fi
	if [ "$run" = kafka ]; then
		scripts/kafka.sh stop "$kafka_dir" >&2
		rm -rf "$kafka_dir"
		trap 'scripts/kafka.sh stop "$kafka_dir" >&2' EXIT
		scripts/kafka.sh start "$kafka_dir" "$kafka_port" >&2 8>&-
		version=$(sed -n '/<artifactId>kafka_/{n;s:.*<version>\(.*\)</version>.*:\1:p}' scripts/kafka/pom.xml)
		args+=(--kafka "$version" --brokers "127.0.0.1:$kafka_port")
	fi
	"$state/bin/lab" e2e "${args[@]}" || bad=1
done
exit $bad
