#!/usr/bin/env bash
# Runs receiver/history's tests against a real VictoriaMetrics and a real QuestDB on
# 127.0.0.1, which the tests start and end. The first run installs them.
#
#   scripts/history-test.sh [-v] [-run REGEXP]
set -euo pipefail
cd "$(dirname "$0")/.."

questdb=9.3.4
jar=$PWD/.cache/questdb/questdb-$questdb.jar

scripts/need.sh victoria-metrics java=default-jre-headless mvn=maven
if [ ! -e "$jar" ]; then
	mvn -q -B -Dmaven.repo.local="$PWD/.cache/maven" dependency:copy -Dartifact=org.questdb:questdb:$questdb -DoutputDirectory="$(dirname "$jar")" >&2
fi
TELEMETRY_VICTORIA=$(command -v victoria-metrics) TELEMETRY_QUESTDB=$jar go test -tags foreign -count=1 -timeout 5m -run Real "$@" ./receiver/history
