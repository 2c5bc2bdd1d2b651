#!/usr/bin/env bash
# Measures the uplink over kernel links beside its peers and prints the table of docs/uplink.md.
# Needs root, /dev/net/tun and `ip mptcp`; about 28 minutes on a machine that does nothing else.
#   TRACES=DIR      recorded traces; without them the rows over LTE are left out
#   SRTLA_DIR=DIR   source of BELABOX srtla, to be built; without it srtla is left out
#   TRIES=N         repeat a run that the machine disturbed (default 1)
#   ONLY=REGEXP     only the rows whose name matches
#   OUT=DIR         what was said in full, and the plots (default a new folder)
set -euo pipefail
cd "$(dirname "$0")/.."
TRACES=${TRACES:-../shared/traces}
OUT=${OUT:-$(mktemp -d)}
TRIES=${TRIES:-1}
mkdir -p "$OUT"
go build -o "$OUT/lab" ./cmd/lab

fixed=10mbit/20ms,6mbit/30ms,4mbit/45ms
uneven=10mbit/30ms,1mbit/30ms,1mbit/30ms
three=10mbit/40ms,10mbit/40ms,10mbit/40ms
up() { printf '%s/%s-driving.up.gz/%s' "$TRACES" "$1" "$2"; }
good=$(up Verizon-LTE 30ms),$(up TMobile-LTE 30ms),$(up ATT-LTE 35ms)

# row NAME ARGUMENT...: one measurement; its lines go to OUT/NAME.txt
row() {
  local name=$1
  shift
  [[ $name =~ ${ONLY:-.} ]] || return 0
  "$OUT/lab" links --tries "$TRIES" --plot "$OUT" "$@" >"$OUT/$name.txt" 2>"$OUT/$name.log"
  # Of five offsets median and worst stay, of one its only line.
  awk -v name="$name" '
    function v(k,  i) { for (i = 1; i < NF; i++) if ($i == k) return $(i + 1); return "" }
    function cell(a, b) { return a == "" ? "" : (b == "" || a == b ? a : a ", " b) }
    { key = $2; of = ($3 == "median" || $3 == "worst") ? $3 : "one"
      n = split("goodput_ratio critical_p99_ms critical_rise_ms stuck_p99_ms stuck_max_ms live_p99_ms resent_ratio heal_p95_s queue_p95_ms cpu_cores lost duplicates", f, " ")
      if (!(key in seen)) { seen[key] = ++count; who[count] = key }
      if (of == "one" && many[key]) next
      if (of != "one") many[key] = 1
      for (i = 1; i <= n; i++) val[key, of, i] = v(f[i]) }
    END { for (c = 1; c <= count; c++) { k = who[c]; printf "| %s | %s ", name, k
        for (i = 1; i <= n; i++) printf "| %s ", many[k] ? cell(val[k, "median", i], val[k, "worst", i]) : val[k, "one", i]
        print "|" } }' "$OUT/$name.txt"
  grep -h 'disturbed by' "$OUT/$name.log" | sed -E 's/.*disturbed by ([0-9.]+)(ms|µs|s) at worst.*/\1 \2/' |
    awk -v name="$name" '{ m = $2 == "s" ? $1 * 1000 : $2 == "ms" ? $1 : $1 / 1000; if (m > w) w = m }
      END { printf "| %s | late by %.0f ms at worst |\n", name, w }' >>"$OUT/lateness.txt"
}

: >"$OUT/lateness.txt"
echo '| run | subject | goodput_ratio | critical p99 ms | its rise | stuck p99 | stuck max | live p99 | re-sent | heal p95 s | queue p95 ms | cores | lost | twice |'
echo '| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |'
row saturate-10-6-4 --links $fixed --case saturate --seconds 12 --peers mptcp
row saturate-10-1-1 --links $uneven --case saturate --seconds 12 --peers mptcp
row load-20 --links $fixed --case saturate --load 20 --seconds 20 --offset 0
row kill --links $three --case kill --seconds 35
row heal --links $three --case heal --seconds 30
row down --links $three --case down --seconds 25 --offset 0
row rebind --links $three --case rebind --seconds 25 --offset 0
if [[ -e $TRACES/Verizon-LTE-driving.up.gz ]]; then
  # Long enough that what stands in MPTCP's queues when the counting begins is little of it.
  row saturate-lte --links "$good" --case saturate --seconds 30 --peers mptcp
  row trace-lte --links "$good" --case trace --seconds 18 --peers mptcp,tcp
fi
row kill-peers --links $three --case kill --seconds 35 --offset 0 --peers "mptcp,tcp${SRTLA_DIR:+,srtla}"
if [[ -n ${SRTLA_DIR:-} ]]; then
  row saturate-srtla --links $fixed --case saturate --seconds 15 --offset 0 --peers srtla
fi
echo
cat "$OUT/lateness.txt"
echo "links-table: in full in $OUT" >&2
