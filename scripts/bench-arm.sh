#!/usr/bin/env bash
# Instructions per sample of the codec and per frame of CAN on armv7 and arm64, counted by a plugin of
# qemu's user mode (lab/insn): no time, and the same number on any machine within
# 0.1 %. Fails when a figure is more than 5 % above lab/insn/baseline.txt.
#
#   scripts/bench-arm.sh [--update]
set -euo pipefail
cd "$(dirname "$0")/.."

update=${1:-}
[ -z "$update" ] || [ "$update" = --update ] || { echo "usage: scripts/bench-arm.sh [--update]" >&2; exit 2; }
scripts/need.sh qemu-arm=qemu-user qemu-aarch64=qemu-user gcc=gcc >&2

baseline=lab/insn/baseline.txt
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
gcc -O2 -shared -fPIC -o "$work/count.so" lab/insn/plugin/count.c

count() { # QEMU PROGRAM CASE ROUNDS
	GOMAXPROCS=1 GOGC=off GODEBUG=asyncpreemptoff=1 "$1" -plugin "$work/count.so" -d plugin "$2" "$3" "$4" 2>&1 >/dev/null |
		awk '$1 == "instructions" { print $2 }'
}

# Both targets at once: what is counted does not depend on time. What an encoder
# does anew only now and then is in rounds from few to many as often as ever.
few=16 many=64
target() { # GOARCH GOARM QEMU
	local arch=$1 qemu=$3 program=$work/insn-$1 case samples unit a b got want verdict
	CGO_ENABLED=0 GOOS=linux GOARCH=$arch GOARM=$2 go build -trimpath -o "$program" ./lab/insn
	for case in fast-encode fast-decode fast-rows full-encode full-decode can-kernel can-text can-raw; do
		samples=$("$qemu" "$program" samples "$case")
		unit=sample
		[ "${case#can-}" = "$case" ] || unit=frame
		a=$(count "$qemu" "$program" "$case" "$few")
		b=$(count "$qemu" "$program" "$case" "$many")
		got=$(awk -v a="$a" -v b="$b" -v n="$samples" -v r=$((many - few)) 'BEGIN { printf "%.2f", (b - a) / r / n }')
		want=$(awk -v k="$arch $case" '$1 " " $2 == k { print $3 }' "$baseline" 2>/dev/null || true)
		echo "$arch $case $got" >>"$work/new-$arch"
		verdict=$(awk -v got="$got" -v want="${want:-0}" 'BEGIN {
			if (want == 0) print "no baseline"
			else printf "%+.1f %%%s\n", 100 * (got / want - 1), (got > 1.05 * want) ? "  MORE THAN 5 % ABOVE THE BASELINE" : "" }')
		printf '%-6s %-12s %8s instructions/%-6s  baseline %8s  %s\n' "$arch" "$case" "$got" "$unit" "${want:--}" "$verdict"
		case $verdict in *ABOVE* | no*) touch "$work/failed" ;; esac
	done
}
target arm 7 qemu-arm &
first=$!
target arm64 "" qemu-aarch64
wait "$first"
if [ "$update" = --update ]; then
	cat "$work/new-arm" "$work/new-arm64" >"$baseline"
	exit 0
fi
[ ! -e "$work/failed" ]
