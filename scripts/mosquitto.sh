#!/usr/bin/env bash
# A real Mosquitto on 127.0.0.1 or ADDRESS, for tests, with mTLS and access rules: the
# common name of a certificate is the car.
#
#   scripts/mosquitto.sh install                    install it
#   scripts/mosquitto.sh start DIR PORT [ADDRESS]   start it; DIR/certs holds ca.crt, server.crt and server.key
#   scripts/mosquitto.sh stop DIR                   end what start has started
#
# start returns when the broker serves. DIR holds mosquitto.conf, acl, log (what
# the broker prints) and pid. Package lab/pki writes the certificates.
set -euo pipefail

root=$(cd "$(dirname "$0")/.." && pwd)
recipe=$root/scripts/mosquitto
start_limit_s=10
stop_limit_s=5
PATH=$PATH:/usr/local/sbin:/usr/sbin # a user's path may lack them

fail() { echo "mosquitto: $*" >&2; exit 1; }

usage() { sed -n '2,/^set /{/^set /d;s/^# \{0,1\}//;p;}' "$0" >&2; exit 2; }

install() { "$root/scripts/need.sh" mosquitto; }

# running prints the pid of the broker in a directory, if it runs.
running() {
	local pid
	pid=$(cat "$1/pid" 2>/dev/null) || return 1
	[ -n "$pid" ] && tr '\0' '\n' <"/proc/$pid/cmdline" 2>/dev/null | grep -qxF "$1/mosquitto.conf" && echo "$pid"
}

open() { (exec 3<>"/dev/tcp/$1/$2") 2>/dev/null; }

start() {
	local dir port address=${3-127.0.0.1} file deadline=$((SECONDS + start_limit_s))
	dir=$(realpath -m "$1") port=$2
	install
	! running "$dir" >/dev/null || fail "a broker runs in $dir already (scripts/mosquitto.sh stop $dir)"
	! open "$address" "$port" || fail "port $port is in use"
	for file in ca.crt server.crt server.key; do
		[ -r "$dir/certs/$file" ] || fail "$dir/certs/$file is missing (package lab/pki writes it)"
	done
	cp "$recipe/acl" "$dir/acl"
	# It keeps the caller's user: the keys of a test are the caller's.
	sed "s#__DIR__#$dir#g; s#__PORT__#$port#g; s#__ADDRESS__#$address#g; s#__USER__#$(id -un)#g" "$recipe/mosquitto.conf" >"$dir/mosquitto.conf"
	(
		echo "$BASHPID" >"$dir/pid" # setsid keeps it: a subshell leads no group
		exec setsid mosquitto -c "$dir/mosquitto.conf"
	) >>"$dir/log" 2>&1 </dev/null &
	until open "$address" "$port"; do
		if [ $SECONDS -ge $deadline ] || ! kill -0 $! 2>/dev/null; then
			tail -n 20 "$dir/log" >&2
			stop "$dir"
			fail "the broker in $dir does not start"
		fi
		sleep 0.05
	done
}

stop() {
	local dir pid deadline=$((SECONDS + stop_limit_s))
	dir=$(realpath -m "$1")
	pid=$(running "$dir") || { rm -f "$dir/pid"; return 0; }
	kill -CONT "$pid" 2>/dev/null || true # it may be frozen
	kill -TERM "$pid" 2>/dev/null || true
	while running "$dir" >/dev/null; do
		[ $SECONDS -lt $deadline ] || kill -KILL "$pid" 2>/dev/null || true
		sleep 0.05
	done
	rm -f "$dir/pid"
}

case "${1-}:$#" in
install:1) install ;;
start:[34]) start "${@:2}" ;;
stop:2) stop "$2" ;;
*) usage ;;
esac
