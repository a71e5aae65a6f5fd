SHELL := /bin/bash
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)
LDFLAGS := -s -w -X main.version=$(VERSION)
export CGO_ENABLED ?= 0

.PHONY: build test test-fast fuzz soak bench demo demo-clean lint generate check-generated

build: ## bin/cloned and bin/clonectl
	go build -trimpath -ldflags '$(LDFLAGS)' -o build/bin/ ./daemon/cloned ./client/clonectl

demo: ## the whole story, on this machine
	scripts/install-deps demo
	$(MAKE) --no-print-directory build
	scripts/demo up

demo-clean: ## leave nothing of it
	scripts/demo clean

test: check-generated ## everything, natively and in the ZFS test machine
	scripts/test all

test-fast: ## the inner loop
	go test -short ./...

soak: ## half an hour of work and kills: build/soak.json
	scripts/test soak

bench: ## build/bench.json and a table
	scripts/bench

fuzz: ## every fuzz target, for ten seconds each
	scripts/fuzz

lint:
	go vet ./...
	go tool staticcheck ./...
	go tool buf lint
	shellcheck $$(grep -rlE '^#!.*(bash|sh)$$' scripts .ci deploy)
	scripts/vulncheck

generate: build/protodeps
	go tool buf generate

build/protodeps: go.sum
	go run ./scripts/protodeps $@
	touch $@

check-generated: generate
	@git diff --exit-code --stat -- proto || { echo "error: generated code was not current; commit what 'make generate' made" >&2; exit 1; }
