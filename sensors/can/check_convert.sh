#!/usr/bin/env bash
# Runs the commands of docs/can.md that turn ASC, BLF, TRC and MF4 into candump
# text, and reads the results. The first run installs python-can and asammdf below
# .cache (git ignores it).
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
CAN_PYTHON=$(scripts/python.sh sensors/can/testdata/convert-requirements.txt)
export CAN_PYTHON
exec go test -tags foreign -count=1 -run '^TestConvertedLogs$' -v ./sensors/can "$@"
