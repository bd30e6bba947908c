# `make run` and `make test` are all that a fresh machine with Python 3.11+ needs; the rest is for development.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
COMPILE = $(BIN)/pip-compile -q --strip-extras --no-header --upgrade \
	--no-emit-index-url --no-emit-find-links --no-emit-trusted-host

# checkov has an environment of its own: it pins what we use in other versions.
SCAN := $(VENV)/scan

.PHONY: help run test check scan format lint types contracts archive bench requirements clean

help: ## list the targets
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16

run: $(VENV)/.run ## carry the example requests through all stages and show what came out
	@$(BIN)/python -m functions run functions/examples; code=$$?; \
	if [ $$code -gt 1 ]; then exit $$code; fi; \
	echo "(exit code $$code: the examples include requests that have to be refused)"

test: ## run every check and every test
	@$(MAKE) --no-print-directory -j 3 check scan
	$(BIN)/python -m pytest -q -n 3 --dist worksteal

check: format lint types contracts ## format, lint, types, import contracts

format: $(VENV)/.dev
	$(BIN)/ruff format --check .

lint: $(VENV)/.dev
	$(BIN)/ruff check .

types: $(VENV)/.dev
	$(BIN)/mypy

contracts: $(VENV)/.dev
	$(BIN)/lint-imports --no-cache

scan: $(SCAN)/.done ## look for insecure settings in infra
	$(SCAN)/bin/checkov -d infra --framework terraform --compact --quiet --skip-download

archive: ## make the archive that is deployed
	$(PYTHON) -m functions._archive

bench: $(VENV)/.dev ## measure the published figures; JSON on stdout
	@$(BIN)/python -m tests.bench

requirements: $(VENV)/.dev ## compile the pinned requirements from pyproject.toml
	$(COMPILE) -o requirements.txt pyproject.toml
	$(COMPILE) --extra dev -c requirements.txt -o tests/requirements.txt pyproject.toml
	echo checkov | $(COMPILE) -o tests/requirements-scan.txt -

clean: ## remove what the other targets made
	rm -rf $(VENV) .atelier .build .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache

$(VENV)/.run: requirements.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.txt
	@touch $@

$(VENV)/.dev: $(VENV)/.run tests/requirements.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.txt -r tests/requirements.txt
	@touch $@

$(SCAN)/.done: tests/requirements-scan.txt
	$(PYTHON) -m venv $(SCAN)
	$(SCAN)/bin/python -m pip install --quiet --disable-pip-version-check -r tests/requirements-scan.txt
	@touch $@
