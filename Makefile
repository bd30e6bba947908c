# `make run` and `make test` are all that a fresh machine with Python 3.11+ needs; the rest is for development.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
COMPILE = $(BIN)/pip-compile -q --strip-extras --no-header --upgrade \
	--no-emit-index-url --no-emit-find-links --no-emit-trusted-host

.PHONY: help run test check bench requirements clean

help: ## list the targets
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16

run: $(VENV)/.run ## carry the example requests through all stages and show what came out
	@$(BIN)/python -m functions run functions/examples; code=$$?; \
	if [ $$code -gt 1 ]; then exit $$code; fi; \
	echo "(exit code $$code: the examples include requests that have to be refused)"

test: $(VENV)/.dev check ## run every check and every test
	$(BIN)/python -m pytest -q -n 2 --dist worksteal

check: $(VENV)/.dev ## format, lint, types, import contracts
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache

bench: $(VENV)/.dev ## measure the published figures; JSON on stdout
	@$(BIN)/python -m tests.bench

requirements: $(VENV)/.dev ## compile the pinned requirements from pyproject.toml
	$(COMPILE) -o requirements.txt pyproject.toml
	$(COMPILE) --extra dev -c requirements.txt -o tests/requirements.txt pyproject.toml

clean: ## remove what the other targets made
	rm -rf $(VENV) .atelier .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache

$(VENV)/.run: requirements.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.txt
	@touch $@

$(VENV)/.dev: $(VENV)/.run tests/requirements.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.txt -r tests/requirements.txt
	@touch $@
