#!/usr/bin/env bash
# A Python with the foreign programs that tests compare with: cantools (decodes
# CAN logs) and confluent-kafka (reads topics). Prints the interpreter's path;
# the first call installs it into .cache/.
#
#   scripts/python.sh [REQUIREMENTS]
set -euo pipefail
cd "$(dirname "$0")/.."

wanted=${1:-scripts/python-requirements.txt}
venv=$PWD/.cache/python/$(sha256sum "$wanted" | cut -c1-12)

if [ ! -e "$venv/complete" ]; then
	scripts/need.sh python3
	mkdir -p "$(dirname "$venv")"
	exec 9>"$(dirname "$venv")/lock"
	flock 9 # another one may be at it
	if [ ! -e "$venv/complete" ]; then
		echo "python: installing $(grep -v '^#' "$wanted" | paste -sd ' ')" >&2
		rm -rf "$venv"
		if ! python3 -m venv "$venv" >/dev/null 2>&1; then # Debian keeps it in a package of its own
			rm -rf "$venv"
			scripts/need.sh python3-venv-is-never-a-command=python3-venv >&2
			python3 -m venv "$venv" >&2
		fi
		"$venv/bin/pip" install --quiet --requirement "$wanted" >&2
		touch "$venv/complete"
	fi
	exec 9>&-
fi
echo "$venv/bin/python"
