# `make up` and `make test` need Python >= 3.11 with venv, and make. Nothing else.

VENV ?= .venv
BIN := $(VENV)/bin
# The first interpreter that runs and is recent enough; name another with PYTHON=…
PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11 python; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && { echo $$p; break; }; done)
# Most tests wait for real processes, so that more run at once than there are cores.
TEST_PROCESSES ?= 4
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet

.DEFAULT_GOAL := help
.PHONY: help up test unit chaos chaos-ci bench bench-quick check format lint types imports audit secrets clean

help:  ## this list
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 20

up: $(BIN)/tq  ## install tq into .venv and run the whole stack
	@$(BIN)/tq up

test: $(VENV)/.test  ## run the whole test suite
	@$(BIN)/python -m pytest -n $(TEST_PROCESSES) --dist loadfile -m "not alone"
	@$(BIN)/python -m pytest -m alone

unit: $(VENV)/.test  ## run the fast tests only
	@$(BIN)/python -m pytest -n auto tests/unit

# Several scenarios at a time, each where there is room: most wait for what a fault brings about.
CHAOS = $(BIN)/python -m pytest tests/chaos -v -n $(CHAOS_PROCESSES) --dist load --maxschedchunk 1 --show-capture=no --tb=short
CHAOS_PROCESSES ?= 3

chaos: $(VENV)/.test  ## torture it: all scenarios, tens of minutes; SEED=… repeats a run, ONLY=1,17 chooses
	@$(CHAOS) $(if $(SEED),--chaos-seed $(SEED)) $(if $(ONLY),--chaos-only $(ONLY))

chaos-ci: $(VENV)/.test  ## the part of it that CI runs, with a fixed seed
	@$(CHAOS) --chaos-subset --chaos-seed $(or $(SEED),1)

bench: $(VENV)/.dev  ## measure tq beside other queues, about an hour; PARTS=queues,api RUNS=1 for some of it
	@$(BIN)/python bench/run.py $(if $(PARTS),--only $(PARTS)) $(if $(RUNS),--runs $(RUNS))

bench-quick: $(VENV)/.dev  ## the part of it that CI runs: counts and ratios
	@$(BIN)/python bench/quick.py

check: format lint types imports secrets audit  ## format, lint, types, import rules, secrets, audit, tests: what CI runs
	@$(MAKE) --no-print-directory test

format: $(VENV)/.dev
	@$(BIN)/ruff format --check .

lint: $(VENV)/.dev
	@$(BIN)/ruff check .

types: $(VENV)/.dev
	@$(BIN)/mypy

imports: $(VENV)/.dev
	@$(BIN)/lint-imports --no-cache

# Of what git has or would take, only files that exist are named. A key that is found is not tried out anywhere.
secrets: $(VENV)/.dev  ## look for secrets in the files of the repository
	@git rev-parse --is-inside-work-tree >/dev/null 2>&1 || { echo "secrets: skipped: this is no git repository"; exit 0; }; \
	git grep --untracked -lz '' | xargs -0 $(BIN)/kingfisher scan --quiet --redact --no-validate --no-update-check \
		--rule-cache-dir $(VENV)/.kingfisher && echo "secrets: none found"

audit: $(VENV)/.dev  ## ask OSV about vulnerabilities of what is installed
	@$(BIN)/python .ci/audit.py

clean:  ## remove what make has made
	rm -rf .venv* .pytest_cache .mypy_cache .ruff_cache

$(BIN)/python:
	@test -n "$(PYTHON)" || { echo "error: no Python >= 3.11 found"; echo "  fix   install one, or name it: make up PYTHON=/path/to/python3"; exit 2; }
	@$(PYTHON) -m venv $(VENV) || { echo "error: $(PYTHON) cannot make a virtual environment"; echo "  fix   install its venv module (Debian: apt install python3-venv)"; rm -rf $(VENV); exit 2; }

$(BIN)/tq: pyproject.toml $(BIN)/python
	@echo "installing tq into $(VENV) …"
	@$(PIP) install --editable .
	@touch $@

$(VENV)/.test: pyproject.toml $(BIN)/python
	@echo "installing tq and its test tools into $(VENV) …"
	@$(PIP) install --editable '.[test]'
	@touch $@ $(BIN)/tq

$(VENV)/.dev: pyproject.toml $(BIN)/python
	@echo "installing tq and its development tools into $(VENV) …"
	@$(PIP) install --editable '.[dev]'
	@touch $@ $(VENV)/.test $(BIN)/tq
