# Varve: the commands a person or the CI gives. Everything that a target needs beside Go, make and
# a Debian is installed by deploy/prepare.sh into ./.cache (tools) or by apt-get (gcc, python3-venv).

SHELL       := /usr/bin/env bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

CACHE   := $(CURDIR)/.cache
PYTHON  := $(CACHE)/venv/bin/python
LINT    := $(CACHE)/bin/golangci-lint
BINARY  := bin/varve
HELM    := $(CACHE)/bin/helm
LISTEN  ?= 127.0.0.1:8080
DATA    ?= varve-data
FUZZTIME ?= 20s

GOLANGCI_VERSION := v2.15.0
HELM_VERSION := v3.22.0
# Go itself is pinned by go.mod; a go.sum line that is missing is an error, not something to fix silently.
export GOFLAGS ?= -mod=readonly

.PHONY: help build run test quick up down lint lint-tool helm-tool race bench bench-distributed fuzz nightly python clean

help: ## this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/  make \1\t\2/' | expand -t 18

build: ## bin/varve, one static binary
	@mkdir -p bin
	CGO_ENABLED=0 go build -trimpath -o $(BINARY) ./cmd/varve

run: build ## a running Varve with the demo (LISTEN=host:port, DATA=directory); needs Go alone
	@deploy/run.sh $(BINARY) $(DATA) $(LISTEN)

test: python lint-tool helm-tool build ## everything that CI asks: lint, all suites, then the race detector; nothing may be skipped
	@$(MAKE) --no-print-directory lint
	@deploy/test.sh all $(PYTHON) $(CURDIR)/$(BINARY)
	@deploy/test.sh race $(PYTHON) $(CURDIR)/$(BINARY)

quick: ## the suites that need nothing but Go; prints what was skipped
	@go run ./deploy/suites -- go test -json ./...

up: ## PostgreSQL, Kafka and an S3 server for development and tests; installs what is missing, says how they are reached
	@deploy/services/up.sh $(CACHE)/services
	@cat $(CACHE)/services/env

down: ## stop what make up started, and delete its data
	@deploy/services/down.sh $(CACHE)/services

race: python build ## the race detector alone, on deploy/race.txt
	@deploy/test.sh race $(PYTHON) $(CURDIR)/$(BINARY)

lint: lint-tool ## go vet and golangci-lint
	go vet ./...
	$(LINT) run ./...

lint-tool: $(LINT)-$(GOLANGCI_VERSION)

$(LINT)-$(GOLANGCI_VERSION):
	@echo "installing golangci-lint $(GOLANGCI_VERSION) into .cache/bin"
	@mkdir -p $(CACHE)/bin
	@GOFLAGS= GOBIN=$(CACHE)/bin go install github.com/golangci/golangci-lint/v2/cmd/golangci-lint@$(GOLANGCI_VERSION)
	@ln -sf golangci-lint $@

helm-tool: $(HELM)-$(HELM_VERSION)

$(HELM)-$(HELM_VERSION):
	@echo "installing helm $(HELM_VERSION) into .cache/bin (one to three minutes)"
	@mkdir -p $(CACHE)/bin
	@rm -f $(HELM)*
	@GOFLAGS= CGO_ENABLED=0 GOBIN=$(CACHE)/bin go install helm.sh/helm/v3/cmd/helm@$(HELM_VERSION)
	@mv $(HELM) $@
	@ln -sf $(notdir $@) $(HELM)

python: ## the official client, in .cache/venv; also gcc for the race detector
	@deploy/prepare.sh $(CACHE)/venv

bench: build ## the numbers of docs/benchmarks.md, measured here
	@deploy/bench.sh $(CURDIR)/$(BINARY)

bench-distributed: ## the same for PostgreSQL and Kafka, beside bare programs on the same servers; one table
	@deploy/bench-distributed.sh

fuzz: ## every fuzz target for FUZZTIME (20s)
	@deploy/fuzz.sh $(FUZZTIME)

nightly: python helm-tool build ## long crash, property, fuzz and race runs; the result is kept in docs/nightly.md
	@deploy/nightly.sh $(PYTHON) $(CURDIR)/$(BINARY)

clean: down ## remove what was built here (not the demo's data)
	rm -rf bin $(CACHE)
