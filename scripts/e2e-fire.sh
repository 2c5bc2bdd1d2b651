#!/usr/bin/env bash
# The lap under fire: a real CAN log is played at the speed at which it was recorded
# on an emulated SLCAN adapter; the agent reads it in a network namespace whose
# only way out are three bad links of the kernel. Meanwhile agent and receiver are
# killed with SIGKILL and frozen at seeded moments, and the links are silenced,
# dropped, unplugged and brought back under other addresses. Then what is in Kafka
# is compared with cantools' own decoding of what was on the bus: every value,
# every time, nothing missing but what an agent held in memory when it was killed
# (not_taken, at most 200 ms of data a kill), nothing double. Needs root and
# /dev/net/tun. Installs what it needs into .cache/.
#
#   scripts/e2e-fire.sh [--run NAME]... [--keep]
#
#   --run NAME   only that run, of
#                  broker     Apache Kafka, embedded MQTT broker
#                  mosquitto  Apache Kafka, Mosquitto with TLS and access rules
#                  receiver   embedded Kafka and broker; only the receiver is
#                             killed, twice as often
#   --keep       leave state and logs of the runs in .cache/fire/
#
# Environment:
#   SEED         of all that happens (default a new one, which is printed)
#   KILLS        SIGKILLs of the agent, and of the receiver (default 5)
#   FIRE_SECONDS for those in a hurry: only the run with Mosquitto, unless --run
#                says otherwise, and only so much of the log that a run ends after
#                about so many seconds; 90 is what CI takes, 60 the least
#   E2E_LOG      candump log, plain, .gz or .zst   (default ../shared/data/can_subaru_candump.log.gz)
#   E2E_DBC      its DBC, for the first interface  (default ../shared/data/can_subaru.dbc)
#   E2E_ORACLE_DBC  another copy of it for cantools, which refuses a DBC with errors
#                that we tolerate                  (default E2E_DBC)
#   FIRE_KAFKA_PORT  of Apache Kafka; the next one is used too (default 29492)
#
# Without ../shared and without E2E_LOG a made-up log is played.
#
# Standard output: one line of JSON per run,
#   {"kafka","broker","kills","expected","delivered","not_taken","missing",
#    "duplicates","value_errors","max_time_error_us","seconds"}
# Exit code: 0 when nothing differs but what was not taken.
set -euo pipefail
cd "$(dirname "$0")/.."

usage() { sed -n '2,/^set /{/^set /d;s/^# \{0,1\}//;p;}' "$0"; }
fail() { echo "fire: $*" >&2; exit 2; }
number() { [[ $2 =~ ^[0-9]+$ ]] || fail "$1 is '$2' (want a whole number)"; }

runs=() keep=''
while [ $# -gt 0 ]; do
	case $1 in
	--run)
		case ${2-} in
		broker | mosquitto | receiver) runs+=("$2") ;;
		*) usage >&2; exit 2 ;;
		esac
		shift
		;;
	--keep) keep=1 ;;
	-h | --help) usage; exit 0 ;;
	*) usage >&2; exit 2 ;;
	esac
	shift
done

seed=${SEED:-$(od -An -N4 -tu4 /dev/urandom | tr -d ' ')}
kills=${KILLS:-5}
number SEED "$seed"
number KILLS "$kills"
options=(--seed "$seed")
if [ -n "${FIRE_SECONDS:-}" ]; then
	number FIRE_SECONDS "$FIRE_SECONDS"
	# Beside the playing: start and end of the broker, the receiver that takes its
	# partitions back after its last kill, and the comparison.
	play=$((FIRE_SECONDS - 45))
	[ "$play" -ge 15 ] || fail "FIRE_SECONDS is $FIRE_SECONDS (want 60 or more)"
	options+=(--play "${play}s")
	[ ${#runs[@]} -gt 0 ] || runs=(mosquitto)
fi
[ ${#runs[@]} -gt 0 ] || runs=(broker mosquitto receiver)
[ "$(id -u)" = 0 ] || fail "needs root, for network namespaces"
[ -e /dev/net/tun ] || fail "needs /dev/net/tun"
echo "fire: SEED=$seed KILLS=$kills runs: ${runs[*]}" >&2

python=$(scripts/python.sh)
state=$PWD/.cache/fire
mkdir -p "$state"
exec 8>"$state/lock"
flock 8 # ports and folders are for one at a time
(cd lab/fire && "$python" -B -m unittest --quiet fire_test) >&2 || fail "the comparison does not find what it should"
CGO_ENABLED=0 go build -trimpath -o "$state/bin/" ./cmd/edgeagent ./cmd/receiver ./cmd/lab

log=${E2E_LOG:-../shared/data/can_subaru_candump.log.gz}
dbc=${E2E_DBC:-../shared/data/can_subaru.dbc}
[ -z "${E2E_ORACLE_DBC:-}" ] || options+=(--oracle-dbc "$E2E_ORACLE_DBC")
if [ -n "${E2E_LOG:-}" ] && [ -z "${E2E_DBC:-}" ]; then
	fail "E2E_LOG is set, E2E_DBC is not: a log of another car needs its own DBC"
elif [ -z "${E2E_LOG:-}" ] && [ ! -e "$log" ]; then
	echo "fire: no log in ../shared: playing a made-up one" >&2
	"$python" -B lab/e2e/othercar.py "$state/other"
	log=$state/other/car.log dbc=$state/other/faulty.dbc
	options+=(--oracle-dbc "$state/other/car.dbc")
fi
for f in "$log" "$dbc"; do
	[ -r "$f" ] || fail "cannot read $f"
done

kafka_dir=$state/kafka
kafka_port=${FIRE_KAFKA_PORT:-29492}

start_kafka() {
	scripts/kafka.sh stop "$kafka_dir" >&2
	rm -rf "$kafka_dir"
	trap 'scripts/kafka.sh stop "$kafka_dir" >&2' EXIT
	scripts/kafka.sh start "$kafka_dir" "$kafka_port" >&2 8>&-
}

bad=0
for run in "${runs[@]}"; do
	args=(--bin "$state/bin" --log "$log" --dbc "$dbc" --python "$python" --cache "$state/decoded" "${options[@]}")
	if [ -n "$keep" ]; then
		rm -rf "${state:?}/$run"
		args+=(--dir "$state/$run")
	fi
	if [ "$run" = receiver ]; then
		args+=(--agent-kills 0 --receiver-kills $((2 * kills)))
	else
		start_kafka
		version=$(sed -n '/<artifactId>kafka_/{n;s:.*<version>\(.*\)</version>.*:\1:p}' scripts/kafka/pom.xml)
		args+=(--kafka "$version" --brokers "127.0.0.1:$kafka_port" --agent-kills "$kills" --receiver-kills "$kills")
	fi
	if [ "$run" = mosquitto ]; then
		scripts/mosquitto.sh install >&2 8>&-
		args+=(--mosquitto "$PWD/scripts/mosquitto.sh")
	fi
	"$state/bin/lab" fire "${args[@]}" 8>&- || bad=1
done
[ "$bad" = 0 ] || echo "fire: to repeat it: SEED=$seed KILLS=$kills scripts/e2e-fire.sh" >&2
exit $bad
