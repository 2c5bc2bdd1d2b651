#!/usr/bin/env bash
# Checks the emulated adapter and the SLCAN source against python-can's slcan
# client. The first run makes a Python environment below .cache (git ignores it).
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
venv=.cache/slcan-venv
if ! "$venv/bin/python" -c 'import can, serial; assert can.__version__ == "4.6.1"' 2>/dev/null; then
	python3 -m venv "$venv"
	"$venv/bin/pip" install --quiet python-can==4.6.1 pyserial==3.5
fi
exec go test -tags foreign -count=1 -run '^TestPythonCAN' -v ./lab/slcan "$@"
