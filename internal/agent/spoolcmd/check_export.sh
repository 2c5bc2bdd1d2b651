#!/usr/bin/env bash
# Exports a spool in every format and has programs read it that are not ours. The
# first run installs them below .cache (git ignores it).
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../../.."
SPOOL_PYTHON=$(scripts/python.sh internal/agent/spoolcmd/testdata/requirements.txt)
export SPOOL_PYTHON
exec go test -tags foreign -count=1 -run '^TestForeignTools$' -v ./internal/agent/spoolcmd "$@"
