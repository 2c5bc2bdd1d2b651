# Every target has a help line: `make` or `make help` prints them.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

.PHONY: test-page image-e2e test-arm bench-arm sim mutants e2e-kafka bench-receiver test-clients test-vm deploy foreign help build demo test race fuzz e2e e2e-fire bench lint fmt cross image clean

help: ## print this list
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

build: ## build edgeagent and receiver for this machine into bin/
	@mkdir -p bin
	CGO_ENABLED=0 go build -trimpath -ldflags "-s -w -X telemetry/internal/version.stamp=$$(scripts/version.sh)" -o bin/ ./cmd/...

test: ## vet, unit tests, layout and import rules
	go vet ./...
	go test ./...
	cd tools/deploycheck && go test -mod=mod ./...

deploy: ## deploy/ against the metrics and by promtool, and the image, run as deploy/ does (installs both tools)
	cd tools/deploycheck && go test -mod=mod -count=1 ./...
	promtool=$$(scripts/promtool.sh) && cd deploy/prometheus && $$promtool check config prometheus.yml && $$promtool test rules tests.yml
	scripts/image-test.sh

foreign: ## against real brokers and clients: Apache Kafka, Mosquitto, python-can, MCAP readers (installs them)
	scripts/mosquitto.sh install
	go test -tags foreign -count=1 ./receiver/ingest/external
	lab/slcan/check_python.sh
	sensors/can/check_convert.sh
	internal/agent/spoolcmd/check_export.sh
	receiver/export/check_export.sh
	scripts/history-test.sh
	scripts/need.sh dbus-daemon=dbus python3-dbusmock-is-no-command=python3-dbusmock
	go test -tags foreign -count=1 ./modem/mm
	scripts/kafka-test.sh

test-vm: ## tests that want a kernel with CAN, in an emulated machine (VM_SECONDS=n for the long one, default 60)
	scripts/vm-test.sh

race: ## unit tests under the race detector
	go test -race ./...

FUZZTIME ?= 5s
fuzz: ## each fuzz target for FUZZTIME (default 5s)
	scripts/fuzz.sh $(FUZZTIME)


e2e: ## a real CAN log over three bad links into Kafka, compared with cantools (scripts/e2e.sh --help)
	@scripts/e2e.sh

e2e-fire: ## the same on a serial adapter while agent, receiver and links are killed; SEED=n KILLS=n (scripts/e2e-fire.sh --help)
	@SEED=$(SEED) KILLS=$(KILLS) scripts/e2e-fire.sh

e2e-kafka: ## 20 cars through two receivers into three Kafka brokers while all of them are killed; MINUTES=n SEED=n (scripts/e2e-kafka.sh --help)
	@MINUTES=$(MINUTES) SEED=$(SEED) scripts/e2e-kafka.sh

bench-receiver: ## the receiver beside its peers on a real Kafka (scripts/bench-receiver.sh --help)
	@scripts/bench-receiver.sh $(ARGS)

test-clients: ## kcat, Quix Streams, confluent-kafka, pyarrow and polars read what a car sent (scripts/test-clients.sh --help)
	@scripts/test-clients.sh $(ARGS)

test-page: ## the live page in Chromium on the real stack; ARGS=--pictures makes the README's (scripts/page-test.sh --help)
	@scripts/page-test.sh $(ARGS)

SEEDS ?= 1000
FIRST ?= 1
sim: ## the whole system under seeds, with faults, in virtual time (SEEDS=n FIRST=n; ARGS='--drop 1,2 --trace' replays)
	@go run ./cmd/lab sim --seeds $(SEEDS) --first $(FIRST) --known lab/simulate/testdata/seeds.txt $(ARGS)

mutants: ## break the code on purpose and see that simulation or tests notice (ARGS='--only reorder')
	@go run ./cmd/lab mutants $(ARGS)

demo: build ## one car, three bad links, Kafka, a tally; FOR=30s ends by itself, ARGS='--help' for more
	@exec bin/demo $(if $(FOR),--for $(FOR)) $(ARGS)

bench: ## benchmarks of the hot paths
	go test -run '^$$' -bench . -benchtime 200ms ./wire ./reorder ./spool ./receiver/sequence/... ./sensors/...

test-arm: ## the codec's tests on armv7 and arm64 under qemu's user mode
	scripts/need.sh qemu-arm=qemu-user qemu-aarch64=qemu-user
	GOARCH=arm GOARM=7 go test -short -exec qemu-arm ./wire & first=$$!; \
	GOARCH=arm64 go test -short -exec qemu-aarch64 ./wire && wait $$first

bench-arm: ## instructions per sample on armv7 and arm64 against a baseline (ARGS=--update sets it)
	scripts/bench-arm.sh $(ARGS)

lint: ## gofumpt, vet, staticcheck, errorlint, sloglint, shellcheck
	scripts/lint.sh

fmt: ## format all Go files
	go tool -modfile=tools/go.mod gofumpt -w $$(git ls-files '*.go' ':!*.pb.go')

cross: ## edgeagent for armv6, armv7, arm64, amd64 and receiver for arm64, amd64 into dist/, twice, same bytes
	scripts/cross-build.sh --check

image: ## the receiver's container image from Containerfile (needs podman or docker)
	scripts/image.sh

image-e2e: ## two containers of the image into a real Kafka while they are killed and drained; SECONDS_OF_LOAD=n CARS=n SEED=n (scripts/image-e2e.sh --help)
	@scripts/image-e2e.sh $(ARGS)

clean: ## remove what was built
	rm -rf bin dist
