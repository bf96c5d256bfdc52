# `make` lists what there is. `demo`, `test`, `check` and `up` set up what they need by themselves.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
VENV_PYTHON := .venv/bin/python
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

setup-embedded: ## Install only what is needed to run it on this machine
	@scripts/setup.sh embedded

demo: setup-embedded ## Show both halves end to end in a private stack (ARGS=--keep leaves it running)
	@$(VENV_PYTHON) -m examples.demo $(ARGS)

up: setup-embedded ## Start the stack and keep it running (STATE=directory)
	@$(VENV_PYTHON) -m shared.cli up $(PLACE)

down: ## Stop the stack
	@$(VENV_PYTHON) -m shared.cli down $(PLACE)

# Most tests wait more than they compute, so several run at once; each process has servers of its own,
# and the longest stories begin first (tests/order.py). Those of tests/e2e are whole platforms.
test: setup ## Run every test this machine can run (ARGS=tests/unit: a part of them)
ifdef ARGS
	@$(VENV_PYTHON) -m pytest $(ARGS)
else
	@status=0; \
	$(VENV_PYTHON) -m pytest -n 3 --dist loadfile --ignore tests/e2e || status=$$?; \
	$(VENV_PYTHON) -m pytest -n 2 --dist loadfile tests/e2e || status=$$?; \
	exit $$status
endif

unit: setup ## Run the quick tests that need no server
	@$(VENV_PYTHON) -m pytest -q -n 2 -m 'not slow' tests/unit $(ARGS)

coverage: setup ## Measure the branch coverage of the unit tests (ARGS=tests/unit/task: of a part)
	@$(VENV_PYTHON) -m pytest -q -n 2 $(or $(ARGS),tests/unit) --cov --cov-report=term $(if $(ARGS),--cov-fail-under=0)

# Make takes over an environment's KUBECONFIG: only one given on its command line counts.
ifeq ($(origin KUBECONFIG),command line)
export BAROGRAPH_TEST_KUBECONFIG := $(KUBECONFIG)
CLUSTER := $(VENV_PYTHON) -m pytest $(or $(ARGS),tests/cluster)
else
CLUSTER := scripts/cluster.sh $(if $(ARGS),run $(VENV_PYTHON) -m pytest $(ARGS),tests $(VENV_PYTHON))
# Images are for the real node; tests with fake nodes alone do without.
IMAGES := $(if $(ARGS),$(findstring cluster/node,$(ARGS)),all)
endif
test-cluster: setup ## Run the tests on a real Kubernetes (KUBECONFIG=file: on yours)
	@$(if $(IMAGES),scripts/cluster.sh images)
	@$(CLUSTER)

check: setup ## Format, lint, types, import contracts, fresh generated files
	@$(VENV_PYTHON) -m ruff format --check .
	@$(VENV_PYTHON) -m ruff check .
	@$(VENV_PYTHON) -m mypy
	@.venv/bin/lint-imports
	@$(VENV_PYTHON) -m shared.cli generate --check

docs: setup ## Build the documentation site into build/site; a broken link fails the build
	@NO_MKDOCS_2_WARNING=1 .venv/bin/mkdocs build --quiet --strict --site-dir build/site

pictures: setup ## Photograph the pages in their browser tests, for the documentation (build/pictures)
	@mkdir -p build/pictures
	@PICTURES=$(CURDIR)/build/pictures $(VENV_PYTHON) -m pytest -q tests/browser/test_alert_pages.py tests/browser/test_decisions.py

audit: setup ## Check all locked packages for known vulnerabilities
	@scripts/audit.sh

fuzz: setup ## Send generated input to every endpoint (FUZZ_SECONDS=600, or ARGS="--inputs 1000000 --jobs 2")
	@$(VENV_PYTHON) -m tests.hostile.fuzz --seconds $(FUZZ_SECONDS) $(ARGS)

generate: setup ## Write schemas, AsyncAPI, reference pages and the data-flow picture again
	@$(VENV_PYTHON) -m shared.cli generate

lock: ## Resolve dependencies again into requirements/*.txt, with hashes
	@scripts/lock.sh $(SERVICES) agent

bench: setup ## Measure messages per second against other libraries
	@$(VENV_PYTHON) -m bench.bus

bench-peers: ## Install the libraries that the benchmarks of detection and forecasting compare with
	@scripts/setup.sh peers

release: setup ## Package the chart with SBOMs, list of images, provenance and sums, publishing nothing (OUT=directory)
	@$(VENV_PYTHON) scripts/release.py $(or $(OUT),build/release)

clean: ## Remove the virtual environment and caches
	@rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .import_linter_cache
