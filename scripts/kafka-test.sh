#!/usr/bin/env bash
# Runs the tests of receiver/kafka against a real Apache Kafka that is started for
# them, once with one node and once with three, and those of others that have some.
# Arguments go to go test of receiver/kafka.
#
#   scripts/kafka-test.sh [-race] [-v] [-run REGEXP]
set -euo pipefail
cd "$(dirname "$0")/.."

kafka=scripts/kafka.sh
dir=$(mktemp -d)
trap '$kafka stop "$dir/one"; $kafka stop "$dir/three"; rm -rf "$dir"' EXIT

# free_ports prints the first of some neighbouring ports that nobody uses.
free_ports() {
	local n=$1 base p
	for _ in {1..50}; do
		base=$((20000 + RANDOM % 10000))
		for ((p = base; p < base + n; p++)); do
			if (exec 3<>"/dev/tcp/127.0.0.1/$p") 2>/dev/null; then continue 2; fi
		done
		echo "$base"
		return
	done
	echo "kafka-test: no free ports" >&2
	return 1
}

# Some tests wait until the group drops a dead member, or a transaction's time is up.
settings=(group.min.session.timeout.ms=1000 transaction.abort.timed.out.transaction.cleanup.interval.ms=1000)

$kafka install
port=$(free_ports 2)
$kafka start "$dir/one" "$port" "${settings[@]}"
TELEMETRY_KAFKA=127.0.0.1:$port TELEMETRY_KAFKA_DIR=$dir/one go test -tags foreign -count=1 -timeout 8m "$@" ./receiver/kafka
TELEMETRY_KAFKA=127.0.0.1:$port go test -tags foreign -count=1 -timeout 5m -run Apache -p 1 ./lab/simulate/kafkatest ./lab/replaybench
$kafka stop "$dir/one"

port=$(free_ports 6)
$kafka start3 "$dir/three" "$port" "${settings[@]}"
TELEMETRY_KAFKA=127.0.0.1:$port,127.0.0.1:$((port + 1)),127.0.0.1:$((port + 2)) TELEMETRY_KAFKA_DIR3=$dir/three \
	go test -tags foreign -count=1 -timeout 8m -run Apache "$@" ./receiver/kafka
