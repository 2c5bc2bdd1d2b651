#!/usr/bin/env bash
# Exports batches in every format and has pyarrow, polars, pandas and MCAP's own
# readers read them. The first run installs them below .cache (git ignores it).
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
EXPORT_PYTHON=$(scripts/python.sh receiver/export/testdata/requirements.txt)
export EXPORT_PYTHON
exec go test -tags foreign -count=1 -run '^TestForeignReaders$' -v ./receiver/export "$@"
