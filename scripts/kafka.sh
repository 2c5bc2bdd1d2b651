#!/usr/bin/env bash
# A real Apache Kafka on 127.0.0.1, for tests. Needs Java and Maven.
#
#   scripts/kafka.sh install                              fetch it into .cache/
#   scripts/kafka.sh start DIR PORT [KEY=VALUE …]         one node
#   scripts/kafka.sh start3 DIR BASEPORT [KEY=VALUE …]    three nodes, in DIR/1 … DIR/3
#   scripts/kafka.sh stop DIR                             end what start or start3 has started
#
# start returns when the broker serves. DIR keeps its data between two starts and
# holds server.properties, log (what the broker prints) and pid. Clients use PORT,
# the controller PORT+1; with three nodes the clients use BASEPORT … BASEPORT+2,
# the controllers BASEPORT+3 … BASEPORT+5. KEY=VALUE are further broker settings;
# without any, those of the last start in DIR count.
set -euo pipefail

root=$(cd "$(dirname "$0")/.." && pwd)
recipe=$root/scripts/kafka
cache=$root/.cache
libs=$cache/kafka/$(sha256sum "$recipe/pom.xml" | cut -c1-12)
start_limit_s=60
stop_limit_s=30

fail() { echo "kafka: $*" >&2; exit 1; }

usage() { sed -n '2,/^set /{/^set /d;s/^# \{0,1\}//;p;}' "$0" >&2; exit 2; }

# What lives for a test's time gains nothing from the optimising compiler.
java=(java -cp "$libs/*" -Dlog4j2.configurationFile="$recipe/log4j2.properties"
	-XX:TieredStopAtLevel=1 -Xshare:auto -XX:+UseSerialGC)

install() {
	[ -e "$libs/complete" ] && return
	"$root/scripts/need.sh" java=default-jre-headless mvn=maven
	mkdir -p "$cache/kafka"
	exec 9>"$cache/kafka/lock"
	flock 9 # another one may be at it
	if [ ! -e "$libs/complete" ]; then
		echo "kafka: fetching" >&2
		rm -rf "$libs"
		mvn -q -B -f "$recipe/pom.xml" -Dmaven.repo.local="$cache/maven" dependency:copy-dependencies \
			-DoutputDirectory="$libs" -DincludeScope=runtime >&2 || fail "Maven could not fetch it"
		touch "$libs/complete"
	fi
	exec 9>&-
}

port_free() { ! (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }

# running prints the pid of the node in a directory, if it runs.
running() {
	local pid
	pid=$(cat "$1/pid" 2>/dev/null) || return 1
	[ -n "$pid" ] && tr '\0' '\n' <"/proc/$pid/cmdline" 2>/dev/null | grep -qxF "$1/server.properties" && echo "$pid"
}

# configure writes a node's settings: directory, node, client port, controller
# port, all voters, number of nodes, further settings.
configure() {
	local dir=$1 node=$2 port=$3 controller=$4 voters=$5 nodes=$6
	shift 6
	if [ $# != 0 ] || [ ! -e "$dir/settings" ]; then
		printf '%s\n' "$@" >"$dir/settings"
	fi
	local isr=$((nodes > 1 ? nodes - 1 : 1))
	{
		printf '%s\n' \
			"process.roles=broker,controller" "node.id=$node" \
			"controller.quorum.voters=$voters" "controller.listener.names=CONTROLLER" \
			"listeners=PLAINTEXT://127.0.0.1:$port,CONTROLLER://127.0.0.1:$controller" \
			"advertised.listeners=PLAINTEXT://127.0.0.1:$port" \
			"listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT" \
			"inter.broker.listener.name=PLAINTEXT" "log.dirs=$dir/data" \
			"num.network.threads=2" "num.io.threads=4" "auto.create.topics.enable=false" \
			"group.initial.rebalance.delay.ms=0" \
			"default.replication.factor=$nodes" "min.insync.replicas=$isr" \
			"broker.session.timeout.ms=3000" "broker.heartbeat.interval.ms=500" \
			"controller.quorum.fetch.timeout.ms=1500" "controller.quorum.election.timeout.ms=750"
		local topic
		for topic in offsets.topic transaction.state.log share.coordinator.state.topic; do
			printf '%s\n' "$topic.replication.factor=$nodes" "$topic.num.partitions=4"
		done
		printf '%s\n' "transaction.state.log.min.isr=$isr" "share.coordinator.state.topic.min.isr=$isr"
		cat "$dir/settings" # the last one of a name counts
	} >"$dir/server.properties"
}

# launch starts a configured node; ready waits for it. The cluster's id is any
# 16 bytes; all nodes of a cluster have the same.
launch() {
	local dir=$1 id=$2 heap=$3
	if [ ! -e "$dir/data/meta.properties" ]; then
		"${java[@]}" -Dkafka.level=error kafka.tools.StorageTool format -t "$id" -c "$dir/server.properties" >"$dir/log" 2>&1 ||
			{ cat "$dir/log" >&2; fail "cannot format $dir/data"; }
	fi
	[ ! -e "$dir/log" ] || mv "$dir/log" "$dir/log.before"
	(
		echo "$BASHPID" >"$dir/pid" # setsid keeps it: a subshell leads no group
		# A broker outlives whoever started it; it must not hold that one's locks.
		for fd in "/proc/$BASHPID/fd/"*; do
			[ "${fd##*/}" -le 2 ] || eval "exec ${fd##*/}>&-" 2>/dev/null || true
		done
		exec setsid "${java[@]}" "-Xms$heap" "-Xmx$heap" kafka.Kafka "$dir/server.properties"
	) >"$dir/log" 2>&1 </dev/null &
}

ready() {
	local dir=$1 deadline=$((SECONDS + start_limit_s))
	until grep -q 'Kafka Server started' "$dir/log" 2>/dev/null; do
		if [ $SECONDS -ge $deadline ] || { [ -s "$dir/pid" ] && ! running "$dir" >/dev/null && ! grep -qs . "/proc/$(cat "$dir/pid")/cmdline"; }; then
			tail -n 20 "$dir/log" >&2
			end "$dir"
			fail "the broker in $dir does not start; its log is $dir/log"
		fi
		sleep 0.1
	done
}

cluster_id() { head -c 16 /dev/urandom | base64 | tr '+/' 'AB' | tr -d '='; }

# prepare makes the directory absolute and refuses what runs or is taken.
prepare() {
	local dir=$1
	shift
	mkdir -p "$dir"
	! running "$dir" >/dev/null || fail "a broker runs in $dir already (scripts/kafka.sh stop $dir)"
	rm -f "$dir/pid"
	local port
	for port in "$@"; do
		port_free "$port" || fail "port $port is in use"
	done
}

start() {
	local dir port
	dir=$(realpath -m "$1") port=$2
	shift 2
	install
	prepare "$dir" "$port" $((port + 1))
	configure "$dir" 1 "$port" $((port + 1)) "1@127.0.0.1:$((port + 1))" 1 "$@"
	launch "$dir" "$(cluster_id)" 384m
	ready "$dir"
}

start3() {
	local dir base id node
	dir=$(realpath -m "$1") base=$2
	shift 2
	install
	local voters="1@127.0.0.1:$((base + 3)),2@127.0.0.1:$((base + 4)),3@127.0.0.1:$((base + 5))"
	mkdir -p "$dir"
	[ -e "$dir/id" ] || cluster_id >"$dir/id"
	id=$(cat "$dir/id")
	for node in 1 2 3; do
		running "$dir/$node" >/dev/null && continue # one of three may be started again
		prepare "$dir/$node" $((base + node - 1)) $((base + node + 2))
		configure "$dir/$node" "$node" $((base + node - 1)) $((base + node + 2)) "$voters" 3 "$@"
		launch "$dir/$node" "$id" 256m
	done
	for node in 1 2 3; do
		ready "$dir/$node"
	done
}

# end ends the node of one directory.
end() {
	local dir=$1 pid deadline=$((SECONDS + stop_limit_s))
	pid=$(running "$dir") || { rm -f "$dir/pid"; return 0; }
	kill -CONT "$pid" 2>/dev/null || true # it may be frozen
	kill -TERM "$pid" 2>/dev/null || true
	while running "$dir" >/dev/null; do
		[ $SECONDS -lt $deadline ] || kill -KILL "$pid" 2>/dev/null || true
		sleep 0.1
	done
	rm -f "$dir/pid"
}

stop() {
	local dir node
	dir=$(realpath -m "$1")
	end "$dir"
	for node in 1 2 3; do
		[ ! -d "$dir/$node" ] || end "$dir/$node" &
	done
	wait
}

case "${1-}:$#" in
install:1) install ;;
start:[3-9] | start:[1-9][0-9] | start3:[3-9] | start3:[1-9][0-9]) "$@" ;;
stop:2) stop "$2" ;;
*) usage ;;
esac
