#!/usr/bin/env bash
# Builds the image and runs two containers of it as deploy/ does (not root, no
# capabilities, a root file system that cannot be written) into a real Apache Kafka. Cars
# with certificates of their own (real spool, real uplink) send 200 kbit/s each, while
# the containers are killed with SIGKILL and drained with SIGTERM in turns; a drained one
# must end by itself, with code 0, within 30 s. Meanwhile cars with another's
# certificate, a revoked one, an expired one and none try, must get nothing through, and
# the log must say why. Then what is in Kafka is read, read_committed, with
# confluent-kafka and compared with what the cars had appended: every batch once and in
# order. Every hop of the latency breakdown must have been measured. Installs what it needs into .cache/.
#
#   scripts/image-e2e.sh [--keep]
#
#   --keep       leave the broker's data, state and logs in .cache/imagefire/
#
# Environment:
#   SECONDS_OF_LOAD  how long the cars send (default 75)
#   CARS             how many (default 6)
#   SEED             of all that happens (default a new one, which is printed)
#   IMAGEFIRE_PORT   of Kafka; the next one is used too (default 29792)
#
# Standard output: one line of JSON,
#   {"cars","seconds","batches","missing","duplicates","out_of_order","strangers",
#    "kills","drains","drain_max_s","identities_refused","hops_p50_ms"}
# Exit code: 0 when nothing is wrong.
set -euo pipefail
cd "$(dirname "$0")/.."

usage() { sed -n '2,/^set /{/^set /d;s/^# \{0,1\}//;p;}' "$0"; }
fail() { echo "imagefire: $*" >&2; exit 2; }
number() { [[ $2 =~ ^[1-9][0-9]*$ ]] || fail "$1 is '$2' (want a whole number from 1)"; }

keep=''
while [ $# -gt 0 ]; do
	case $1 in
	--keep) keep=1 ;;
	-h | --help) usage; exit 0 ;;
	*) usage >&2; exit 2 ;;
	esac
	shift
done
length=${SECONDS_OF_LOAD:-75} cars=${CARS:-6} port=${IMAGEFIRE_PORT:-29792}
seed=${SEED:-$(($(od -An -N2 -tu2 /dev/urandom) + 1))}
number SECONDS_OF_LOAD "$length"
number CARS "$cars"
number SEED "$seed"
number IMAGEFIRE_PORT "$port"
echo "imagefire: SEED=$seed SECONDS_OF_LOAD=$length CARS=$cars" >&2

image=localhost/receiver:e2e
scripts/image.sh "$image" >&2
engine=podman
if docker info >/dev/null 2>&1; then
	engine=docker
elif command -v runc >/dev/null; then # crun fails where user namespaces are limited
	engine=podman,--runtime,runc,--cgroup-manager,cgroupfs
fi
python=$(scripts/python.sh)
state=$PWD/.cache/imagefire
mkdir -p "$state"
exec 8>"$state/lock"
flock 8 # ports and folders are for one at a time
# shellcheck disable=SC2317,SC2329 # the trap calls it
clean() {
	scripts/kafka.sh stop "$state/kafka" >&2
	[ -n "$keep" ] || rm -rf "${state:?}/kafka" "$state/run"
}
scripts/kafka.sh stop "$state/kafka" >&2
rm -rf "${state:?}/kafka" "$state/run"
mkdir -p "$state/run"
trap clean EXIT
CGO_ENABLED=0 go build -trimpath -o "$state/bin/" ./cmd/lab || fail "the build failed"
scripts/kafka.sh start "$state/kafka" "$port" transaction.state.log.replication.factor=1 >&2 8>&-

"$state/bin/lab" imagefire --engine "$engine" --image "$image" --dir "$state/run" --broker "127.0.0.1:$port" --python "$python" \
	--prefix "image$$" --cars "$cars" --length "${length}s" --seed "$seed" 8>&- || { keep=1; exit 1; }
