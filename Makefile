# `make` lists what there is. `demo`, `test`, `check` and `up` set up what they need by themselves.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
PYTHON := .venv/bin/python
SERVICES := client task autospec detector predictor healer
FUZZ_SECONDS ?= 600
# What one process compiles, tests and their assertions included, the next one loads.
unexport PYTHONDONTWRITEBYTECODE
# Without STATE it is where `barograph up` keeps its files by default.
PLACE = $(if $(STATE),--state '$(STATE)')

.PHONY: help setup setup-embedded demo up down test unit coverage test-cluster check docs pictures audit fuzz generate lock bench bench-peers release clean

help: ## List the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 20

setup: ## Install everything for development: servers, browser, Python packages
	@scripts/setup.sh dev

setup-embedded: ## Install only what running it on this machine needs
	@scripts/setup.sh embedded

demo: setup-embedded ## Show both flows end to end, in a stack of its own (ARGS=--keep: and leave it)
	@$(PYTHON) -m examples.demo $(ARGS)

up: setup-embedded ## Start the stack and keep it running (STATE=directory)
	@$(PYTHON) -m shared.cli up $(PLACE)

down: ## Stop it
	@$(PYTHON) -m shared.cli down $(PLACE)

# Most tests wait more than they compute, so three run at once; each process has servers of its own.
# The stories of tests/e2e need the machine for themselves.
test: setup ## Run every test this machine can run (ARGS=tests/unit: a part of them)
ifdef ARGS
	@$(PYTHON) -m pytest $(ARGS)
else
	@$(PYTHON) -m pytest -n 3 --dist loadfile --ignore tests/e2e
	@$(PYTHON) -m pytest tests/e2e
endif

unit: setup ## Run the tests that need no server
	@$(PYTHON) -m pytest -q -n 2 tests/unit $(ARGS)

coverage: setup ## Measure which branches the unit tests take (ARGS=tests/unit/task: of a part)
	@$(PYTHON) -m pytest -q -n 2 $(or $(ARGS),tests/unit) --cov --cov-report=term $(if $(ARGS),--cov-fail-under=0)

# Make takes over an environment's KUBECONFIG: only one given on its command line counts.
ifeq ($(origin KUBECONFIG),command line)
export BAROGRAPH_TEST_KUBECONFIG := $(KUBECONFIG)
CLUSTER :=
else
CLUSTER := scripts/cluster.sh run
# Images are for the real node; tests with fake nodes alone do without.
IMAGES := $(if $(ARGS),$(findstring cluster/node,$(ARGS)),all)
endif
test-cluster: setup ## Run the tests on a real Kubernetes (KUBECONFIG=file: on yours)
	@$(if $(IMAGES),scripts/cluster.sh images)
	@$(CLUSTER) $(PYTHON) -m pytest $(if $(ARGS),$(ARGS),tests/cluster)

check: setup ## Format, lint, types, import contracts, fresh generated files
	@$(PYTHON) -m ruff format --check .
	@$(PYTHON) -m ruff check .
	@$(PYTHON) -m mypy
	@.venv/bin/lint-imports
	@$(PYTHON) -m shared.cli generate --check

docs: setup ## Build the documentation's site into build/site; a broken link fails it
	@NO_MKDOCS_2_WARNING=1 .venv/bin/mkdocs build --quiet --strict --site-dir build/site

pictures: setup ## Photograph the pages by their browser tests, for the documentation (build/pictures)
	@mkdir -p build/pictures
	@PICTURES=$(CURDIR)/build/pictures $(PYTHON) -m pytest -q tests/browser/test_alert_pages.py tests/browser/test_decisions.py

audit: setup ## Ask for known vulnerabilities of everything that is locked
	@scripts/audit.sh

fuzz: setup ## Try made-up input at every door (FUZZ_SECONDS=600, ARGS="--seed 1")
	@$(PYTHON) -m tests.hostile.fuzz --seconds $(FUZZ_SECONDS) $(ARGS)

generate: setup ## Write schemas, AsyncAPI and the data-flow picture again
	@$(PYTHON) -m shared.cli generate

lock: ## Resolve dependencies again into requirements/*.txt, with hashes
	@scripts/lock.sh $(SERVICES) agent

bench: setup ## Measure messages per second against other libraries
	@$(PYTHON) -m bench.bus

bench-peers: ## Install what benchmarks of detection and forecasting measure beside ours
	@scripts/setup.sh peers

release: setup ## Package the chart with SBOMs, list of images, provenance and sums, publishing nothing (OUT=directory)
	@$(PYTHON) scripts/release.py $(or $(OUT),build/release)

clean: ## Remove the virtual environment and caches
	@rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .import_linter_cache
