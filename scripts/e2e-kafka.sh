#!/usr/bin/env bash
# Twenty cars of 200 kbit/s (real spool, real uplink) through two receivers into a
# real Apache Kafka of three brokers, while receivers are killed with SIGKILL and
# started again every 10 to 20 s and frozen past their session timeout and woken,
# brokers are killed, by the seed also while a receiver is frozen, cars move between
# the receivers, and cars restart and so begin new epochs. Then what is in Kafka is
# read, read_committed, with confluent-kafka and compared with what the cars had
# appended. First pass: window none, all must be in the main topics once and in order;
# memory for batches behind holes is so small that they are read again. Second pass,
# half as long: windows of 100 ms and memory as it is by default, every batch must be
# exactly one of in order, late, or reported in a gap. Installs what it needs into
# .cache/.
#
#   scripts/e2e-kafka.sh [--window none|100ms] [--keep]
#
#   --window W   only that pass
#   --keep       leave the brokers' data, state and logs in .cache/kafkafire/
#
# Environment:
#   MINUTES      of load in the first pass (default 5; at least 1)
#   SEED         of all that happens (default a new one, which is printed)
#   MEMORY       sequence.memory in the first pass (default 4KiB; rereads are demanded)
#   CARS         how many (default 20)
#   KAFKAFIRE_PORT  of the first broker; the next five are used too (default 29592)
#
# Standard output: one line of JSON per pass,
#   {"window","cars","seconds","batches","missing","duplicates","out_of_order",
#    "receiver_kills","broker_kills","freezes","car_restarts","rereads",…}
# Exit code: 0 when nothing is wrong.
set -euo pipefail
cd "$(dirname "$0")/.."

usage() { sed -n '2,/^set /{/^set /d;s/^# \{0,1\}//;p;}' "$0"; }
fail() { echo "kafkafire: $*" >&2; exit 2; }
number() { [[ $2 =~ ^[1-9][0-9]*$ ]] || fail "$1 is '$2' (want a whole number from 1)"; }

windows=(none 100ms) keep=''
while [ $# -gt 0 ]; do
	case $1 in
	--window)
		case ${2-} in
		none | 100ms) windows=("$2") ;;
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
minutes=${MINUTES:-5} cars=${CARS:-20} memory=${MEMORY:-4KiB}
seed=${SEED:-$(($(od -An -N2 -tu2 /dev/urandom) + 1))}
port=${KAFKAFIRE_PORT:-29592}
number MINUTES "$minutes"
number CARS "$cars"
number SEED "$seed"
echo "kafkafire: SEED=$seed MINUTES=$minutes CARS=$cars" >&2

python=$(scripts/python.sh)
state=$PWD/.cache/kafkafire
mkdir -p "$state"
exec 8>"$state/lock"
flock 8 # ports and folders are for one at a time
(cd lab/kafkafire && "$python" -B -m unittest --quiet account_test) >&2 || fail "the comparison does not find what it should"
brokers=''
# shellcheck disable=SC2317,SC2329 # the trap calls it
clean() {
	[ -z "$brokers" ] || wait "$brokers" || true # they may still be starting
	scripts/kafka.sh stop "$state/kafka" >&2
	[ -n "$keep" ] || rm -rf "${state:?}/kafka" "$state"/pass-*
}
scripts/kafka.sh stop "$state/kafka" >&2
rm -rf "${state:?}/kafka" "$state"/pass-*
trap clean EXIT
scripts/kafka.sh start3 "$state/kafka" "$port" >&2 8>&- &
brokers=$!
CGO_ENABLED=0 go build -trimpath -o "$state/bin/" ./cmd/receiver ./cmd/lab || fail "the build failed"
wait "$brokers" || fail "the brokers did not start"

bad=0
for window in "${windows[@]}"; do
	seconds=$((minutes * 60)) args=(--memory "$memory")
	if [ "$window" != none ]; then
		seconds=$((minutes * 30)) args=(--window "$window")
	fi
	mkdir "$state/pass-$window"
	"$state/bin/lab" kafkafire --bin "$state/bin" --dir "$state/pass-$window" --kafka-dir "$state/kafka" --port "$port" \
		--python "$python" --prefix "fire-$window" --length "${seconds}s" --cars "$cars" --seed "$seed" "${args[@]}" 8>&- || bad=1
done
[ $bad = 0 ] || keep=1
exit $bad
