#!/usr/bin/env bash
# A simulated car through the real receiver into a real Apache Kafka, all outputs at
# once, read by foreign clients: kcat, kafka-python and a windowed exactly-once Quix Streams
# application read json, Quix Streams reads quix, confluent-kafka with its
# deserialiser and Apicurio's schema registry reads protobuf, pyarrow and polars read
# arrow. The receiver is killed half way. Every value, NaN, infinities, integers beyond
# 2^53, enumerations and events included, is compared with what the car sent. Installs
# what it needs into .cache/.
#
#   scripts/test-clients.sh [--keep]
#
#   --keep       leave data, state and logs in .cache/clients/
#
# Environment:
#   SECONDS_OF_LOAD  how long the car sends (default 12)
#   SEED             of its values (default a new one, which is printed)
#   CLIENTS_PORT     of Kafka; the next two are used too (default 29692)
#
# Standard output: one line of JSON per client,
#   {"client","format","records","values","events","nan","inf","large","wrong","missing","extra",…}
# Exit code: 0 when nothing is wrong.
set -euo pipefail
cd "$(dirname "$0")/.."

usage() { sed -n '2,/^set /{/^set /d;s/^# \{0,1\}//;p;}' "$0"; }
fail() { echo "clients: $*" >&2; exit 2; }
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
length=${SECONDS_OF_LOAD:-12} port=${CLIENTS_PORT:-29692}
seed=${SEED:-$(($(od -An -N2 -tu2 /dev/urandom) + 1))}
number SECONDS_OF_LOAD "$length"
number SEED "$seed"
number CLIENTS_PORT "$port"
echo "clients: SEED=$seed SECONDS_OF_LOAD=$length" >&2

registry_version=2.6.13.Final
registry=$PWD/.cache/registry/$registry_version
state=$PWD/.cache/clients
mkdir -p "$state" "$PWD/.cache/registry"

# install_registry fetches Apicurio's registry, which speaks Confluent's language.
install_registry() {
	[ -e "$registry/complete" ] && return
	exec 9>"$PWD/.cache/registry/lock"
	flock 9 # another one may be at it
	if [ ! -e "$registry/complete" ]; then
		echo "clients: fetching the schema registry" >&2
		local name=apicurio-registry-app
		mvn -q -B -Dmaven.repo.local="$PWD/.cache/maven" dependency:get \
			-Dartifact="io.apicurio:$name:$registry_version:tar.gz:all" -Dtransitive=false >&2
		rm -rf "$registry"
		mkdir -p "$registry"
		tar xzf "$PWD/.cache/maven/io/apicurio/$name/$registry_version/$name-$registry_version-all.tar.gz" -C "$registry"
		touch "$registry/complete"
	fi
	exec 9>&-
}

scripts/need.sh kcat java=default-jre-headless mvn=maven curl
scripts/kafka.sh install
install_registry
python=$(scripts/python.sh scripts/clients-requirements.txt)

exec 8>"$state/lock"
flock 8 # ports and folders are for one at a time
(cd lab/clients && "$python" -B -m unittest --quiet truth_test) >&2 || fail "the comparison does not find what it should"
CGO_ENABLED=0 go build -trimpath -o "$state/bin/" ./cmd/receiver ./cmd/lab

registry_pid=''
# shellcheck disable=SC2317 # the trap calls it
clean() {
	[ -z "$registry_pid" ] || kill "$registry_pid" 2>/dev/null || true
	scripts/kafka.sh stop "$state/kafka" >&2
	[ -n "$keep" ] || rm -rf "${state:?}/kafka" "$state/run"
}
scripts/kafka.sh stop "$state/kafka" >&2
rm -rf "${state:?}/kafka" "$state/run"
mkdir -p "$state/run"
trap clean EXIT

url=http://127.0.0.1:$((port + 2))
(
	cd "$registry"
	exec java -Xmx384m -XX:TieredStopAtLevel=1 -XX:+UseSerialGC -Dquarkus.http.host=127.0.0.1 -Dquarkus.http.port=$((port + 2)) \
		-jar apicurio-registry-app-$registry_version-runner.jar
) >"$state/run/registry.log" 2>&1 8>&- </dev/null &
registry_pid=$!
scripts/kafka.sh start "$state/kafka" "$port" transaction.state.log.replication.factor=1 >&2 8>&-

deadline=$((SECONDS + 180)) # a busy machine takes its time
until curl -sf -m 5 -o /dev/null "$url/apis/ccompat/v7/subjects"; do
	kill -0 "$registry_pid" 2>/dev/null || fail "the schema registry has ended, see $state/run/registry.log (use --keep)"
	[ $SECONDS -lt $deadline ] || fail "the schema registry does not answer, see $state/run/registry.log (use --keep)"
	sleep 0.2
done

"$state/bin/lab" clients --bin "$state/bin" --dir "$state/run" --broker "127.0.0.1:$port" --registry "$url/apis/ccompat/v7" \
	--python "$python" --length "${length}s" --seed "$seed" 8>&- || { keep=1; exit 1; }
