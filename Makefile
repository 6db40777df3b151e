# One command file. `make check` is what CI runs.
# Nothing but make and a Python of 3.11 or newer has to be installed by hand.

SHELL := /bin/bash
.DEFAULT_GOAL := help

# The first interpreter that is new enough; PYTHON=/path/to/python overrides it.
PYTHON ?= $(shell for p in python3 python3.14 python3.13 python3.12 python3.11; do \
	"$$p" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo "$$p" && break; done)
UV_VERSION := 0.13.8
BIN := .venv/bin
STAMP := .venv/.ready
JS := tests/sdk/javascript

TEST_JOBS ?= 2
SEEDS ?= 200
JOBS ?= 1
KILLS ?= 20
LOSSES ?= 50
CASES ?= 50000
ARGS ?=

.PHONY: help setup run test check js sdk lint fix sim fuzz bench peers kill faults lock clean

help: ## Show this list
	@awk 'BEGIN {FS = ":.*## "} /^[a-z][a-z-]*:.*## / {printf "  make %-7s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(STAMP) ## Build .venv with the locked development environment and .venv/bin/batuta

# uv is some ten times faster than pip, but nothing depends on it: without it pip installs the same lock.
$(STAMP): requirements-dev.lock pyproject.toml
	@test -n "$(PYTHON)" || { echo "make: no Python 3.11 or newer found; install one or pass PYTHON=/path/to/python" >&2; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check "uv==$(UV_VERSION)" 2>/dev/null \
		|| echo "make: uv is not available, using pip" >&2
	@if test -x $(BIN)/uv && VIRTUAL_ENV="$(CURDIR)/.venv" $(BIN)/uv pip install --quiet --require-hashes -r requirements-dev.lock \
		&& VIRTUAL_ENV="$(CURDIR)/.venv" $(BIN)/uv pip install --quiet --no-deps --editable .; \
	then :; else \
		$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-dev.lock \
		&& $(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --editable .; \
	fi
	@touch $@
	@echo "ready: $(BIN)/batuta"

run: setup ## Start the server with the example pipelines and run one of them (Ctrl-C ends it)
	@$(BIN)/batuta demo $(ARGS)

test: setup ## Run the tests in TEST_JOBS=2 processes (ARGS="-k name" selects)
	@$(BIN)/python -m pytest -q -n $(TEST_JOBS) --dist worksteal $(ARGS)

check: lint js test ## Everything CI runs: style, types, layers, tests

# The tests that need it skip, saying so, where it is not installed; so its absence stops nothing.
js: ## Install Conductor's JavaScript SDK for its tests, where there is node and npm
	@if ! { command -v node && command -v npm; } >/dev/null; then \
		echo "make: no node or no npm: the tests of the JavaScript SDK will skip"; \
	elif test $(JS)/node_modules/.package-lock.json -nt $(JS)/package-lock.json; then :; \
	elif $(if $(shell command -v timeout),timeout 180) npm --prefix $(JS) ci --engine-strict --ignore-scripts --no-audit \
		--no-fund --fetch-retries=1 --fetch-timeout=30000 --loglevel=error >/dev/null; then :; \
	else \
		rm -rf $(JS)/node_modules; \
		echo "make: npm could not install the JavaScript SDK: its tests will skip"; \
	fi

sdk: setup js ## Run the tests of Conductor's official SDKs, Python and JavaScript
	@$(BIN)/python -m pytest -q -rs tests/sdk $(ARGS)

lint: setup ## Check style, formatting, types and layers without running anything
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports

fix: setup ## Format the code and repair what ruff can repair
	@$(BIN)/ruff check --fix --exit-zero .
	@$(BIN)/ruff format .

sim: setup ## Run the simulator over SEEDS=200 seeds in JOBS=1 processes, and over the planted bugs
	@$(BIN)/python -m tests.simulation --seeds $(SEEDS) --jobs $(JOBS) $(ARGS)

fuzz: setup ## Send CASES=50000 requests made from our own OpenAPI document, right and wrong ones
	@$(BIN)/python -m tests.fuzz --cases $(CASES) $(ARGS)

bench: setup ## Measure the engine and print the table
	@$(BIN)/python -m bench $(ARGS)

peers: setup ## Measure other engines beside ours; installs them into build/peers, skips what does not install
	@$(BIN)/python -m bench.peers $(ARGS)

kill: setup ## Kill the server at KILLS=20 points under load and compare with the clients' ledger
	@BATUTA_KILLS=$(KILLS) $(BIN)/python -m pytest -q tests/faults/test_kill.py --timeout=0 $(ARGS)

faults: setup ## Break real things: power (LOSSES=50), processes (KILLS=20), disks, clocks, rows; build/faults.json
	@BATUTA_KILLS=$(KILLS) BATUTA_LOSSES=$(LOSSES) BATUTA_FAULTS_REPORT=build/faults.json \
		$(BIN)/python -m pytest -q tests/faults --timeout=0 $(ARGS)

lock: setup ## Resolve the dependencies anew into requirements-dev.lock (needs uv)
	@$(BIN)/uv pip compile pyproject.toml --extra postgres --extra kafka --extra redis --group dev --universal --python-version 3.11 \
		--generate-hashes $(if $(KEEP),,--upgrade) --no-emit-index-url --no-header --quiet -o requirements-dev.lock

clean: ## Remove the environment, the caches and what builds leave behind
	@rm -rf .venv $(JS)/node_modules build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache .coverage
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +
