# DataDistiller: `make up` runs it, `make test` checks it. Everything else is set up on the way.
PYTHON ?= $(shell for p in python3.13 python3.12 python3.11 python3; do \
	$$p -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1 && { echo $$p; break; }; done)
DATA_DIR ?= .data
VENV := .venv
BIN := $(VENV)/bin
NATIVE := $(wildcard $(foreach part,embedding parsing,src/datadistiller/$(part)/native/build.py src/datadistiller/$(part)/native/source/*))
UV_COMPILE = uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-emit-find-links --no-annotate --no-header pyproject.toml

.PHONY: up test lint bench bench-cluster bench-engine bench-parsing compose lock clean help services services-stop services-status services-logs

help: ## this list
	@grep -E '^[a-z-]+:.*## ' Makefile | sed 's/:.*## /\t/' | expand -t 18

up: $(VENV)/.run-stamp ## set up and run everything on this machine: make up PORT=8001 DATA_DIR=.data
	@exec $(BIN)/datadistiller up --data-dir "$(DATA_DIR)" $(if $(PORT),--port $(PORT))

test: lint ## set up and run every test
	@$(BIN)/python -m tools.services install || true # tests without a server skip, and fail with CI set
	$(BIN)/python -m pytest -n 2 --dist loadfile # a file stays in one process: what its tests share starts once

lint: $(VENV)/.test-stamp ## style, types, layers
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

services: $(VENV)/.run-stamp ## start Kafka, MinIO, OpenSearch, PostgreSQL without Docker: make services NAMES="kafka minio"
	@$(BIN)/python -m tools.services start $(NAMES)

services-stop: $(VENV)/.run-stamp ## stop them; their data stays in .services/run
	@$(BIN)/python -m tools.services stop $(NAMES)

services-status: $(VENV)/.run-stamp ## what runs, on which port, with how much memory
	@$(BIN)/python -m tools.services status $(NAMES) || true

services-logs: $(VENV)/.run-stamp ## the end of each log
	@$(BIN)/python -m tools.services logs $(NAMES)

bench: $(VENV)/.test-stamp ## measure what the README publishes (nothing else heavy beside it)
	$(BIN)/python -m benchmarks.run

bench-cluster: $(VENV)/.test-stamp ## measure what docs/guide/cluster.md publishes, on services of its own (nothing heavy beside it)
	@$(BIN)/python -m tools.services install
	$(BIN)/python -m benchmarks.cluster_run

bench-engine: $(VENV)/.test-stamp ## measure the embedding engines beside each other in one run
	$(BIN)/python -m benchmarks.engine

bench-parsing: $(VENV)/.test-stamp ## read all real files, and PDF beside other libraries; writes docs/guide/parsing.md (RIVALS=interpreter)
	$(BIN)/python -m benchmarks.parsing
	$(BIN)/python -m benchmarks.pdf $(if $(RIVALS),--rivals $(RIVALS))
	$(BIN)/python -m benchmarks.filings

compose: deploy/secrets/api_key ## run everything as containers on this machine (needs Docker)
	docker compose up --build --detach --wait

deploy/secrets/api_key:
	deploy/secrets.sh

lock: ## resolve the dependencies anew (needs uv)
	$(UV_COMPILE) --extra build --extra ocr -o requirements.lock
	$(UV_COMPILE) --extra build --extra ocr --extra dev -o requirements-dev.lock

clean: ## remove the virtual environment and caches, never data
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache

$(VENV)/bin/python:
	@test -n "$(PYTHON)" || { echo "DataDistiller needs Python 3.11 or newer with the venv module; none was found on the PATH. Set PYTHON=/path/to/python3."; exit 1; }
	@echo "Setting up $(VENV) with $$($(PYTHON) --version) (once, about a minute)"
	@$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); exit 1; }

# The lock files name everything, so pip has nothing to resolve (--no-deps: it would warn of an extra that lxml no longer has).
# The installation compiles the native engine, so it is done again when its sources changed.
$(VENV)/.run-stamp: requirements.lock pyproject.toml hatch_build.py $(NATIVE) | $(VENV)/bin/python
	@$(BIN)/python -m pip install -q --disable-pip-version-check --require-hashes --no-deps -r requirements.lock
	@$(BIN)/python -m pip install -q --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

$(VENV)/.test-stamp: requirements-dev.lock $(VENV)/.run-stamp
	@$(BIN)/python -m pip install -q --disable-pip-version-check --require-hashes --no-deps -r requirements-dev.lock
	@touch $@
