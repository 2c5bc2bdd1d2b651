#!/usr/bin/env bash
# The live page in Chromium on the real stack: a simulated car with edgeagent, links
# that misbehave, the receiver with its embedded Kafka. What the page shows is
# compared with what was done; what it gives to take home, with what the simulated
# car has measured. Installs what it needs into .cache/, Chromium by apt.
#
#   scripts/page-test.sh [--pictures] [--only STEP,…] [--keep]
#
#   --pictures   only make the README's pictures, docs/img/pitwall-*.png
#   --only       take these steps only: moves, links, strips, holes, keys, address,
#                odd, slow, laps, take, replay, looks, labels, failing, roles, console, silent,
#                speed; those that they need come with them (take, replay, looks, labels and
#                failing need laps)
#   --keep       keep the stack's folder with its logs, and say where
#
# Pictures stay in .cache/page/*.png. Frames and times are those of the machine that
# it runs on: nothing else should run there.
#
# Standard output: one line of JSON per result,
#   {"name","value","unit","bar","ok","note"}
# Exit code: 0 when all is as it should be.
set -euo pipefail
cd "$(dirname "$0")/.."

usage() { sed -n '2,/^set /{/^set /d;s/^# \{0,1\}//;p;}' "$0"; }

args=()
while [ $# -gt 0 ]; do
	case $1 in
	--pictures) args+=(--pictures docs/img) ;;
	--only)
		args+=(--only "${2:?--only wants steps}")
		shift
		;;
	--keep) args+=(--keep) ;;
	-h | --help)
		usage
		exit 0
		;;
	*)
		usage >&2
		exit 2
		;;
	esac
	shift
done

axe_version=4.14.1
axe=$PWD/.cache/axe/$axe_version

# install_axe fetches axe-core, which finds what keeps people from using a page.
install_axe() {
	[ -e "$axe/complete" ] && return
	mkdir -p "$PWD/.cache/axe"
	exec 9>"$PWD/.cache/axe/lock"
	flock 9 # another one may be at it
	if [ ! -e "$axe/complete" ]; then
		echo "page-test: fetching axe-core $axe_version" >&2
		rm -rf "$axe"
		npm install --silent --no-audit --no-fund --ignore-scripts --prefix "$axe" "axe-core@$axe_version" >&2
		touch "$axe/complete"
	fi
	exec 9>&-
}

scripts/need.sh chromium npm
python=$(scripts/python.sh scripts/page-requirements.txt)
install_axe

state=$PWD/.cache/page-bin
mkdir -p "$state"
exec 8>"$state/lock"
flock 8 # pictures and downloads are of one at a time
CGO_ENABLED=0 go build -trimpath -o "$state/" ./cmd/edgeagent ./cmd/receiver ./cmd/lab

"$state/lab" page --bin "$state" --dir .cache/page --chromium "$(command -v chromium)" \
	--axe "$axe/node_modules/axe-core/axe.min.js" --python "$python" "${args[@]}" 8>&-
