# permsite needs make and Python 3.11, 3.12 or 3.13; everything else comes from requirements.lock into .venv. `make help` explains.

PYTHON ?= python3
VENV := .venv
PY := $(VENV)/bin/python
# Bytecode is made where a module is first used: compiling every file takes a third of the installation.
INSTALL := $(PY) -m pip --quiet --disable-pip-version-check --no-input install --no-compile --no-deps --require-hashes
# Options for pytest: make test T="-m 'not browser and not chaos'"
T ?=
# Options for the demo: make run ARGS="--port 9000 --reset"
ARGS ?=

# Stamps. Both depend on the lock, so nothing is installed twice; a change of PYTHON makes the environment anew.
VERSION := $(shell $(PYTHON) -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null)
MADE := $(VENV)/.made-$(VERSION)
RUN := $(VENV)/.installed-run
TEST := $(VENV)/.installed-test

.DEFAULT_GOAL := help
.PHONY: help run test check bench chaos certify
.DELETE_ON_ERROR:

help: ## This list
	@echo "make TARGET, with PYTHON=python3.13 to pick another Python than $(PYTHON)"
	@sed -n 's/^\([a-z]*\):[^#]*## /\1\t/p' $(MAKEFILE_LIST) | awk -F'\t' '{ printf "  %-8s %s\n", $$1, $$2 }'

$(MADE):
	@command -v $(PYTHON) >/dev/null || { echo "There is no $(PYTHON): install Python 3.11, 3.12 or 3.13, or name one with PYTHON=."; exit 1; }
	@$(PYTHON) -c 'import sys; (3, 11) <= sys.version_info[:2] <= (3, 13) or sys.exit("permsite needs Python 3.11, 3.12 or 3.13; $(PYTHON) is %d.%d: name another with PYTHON=python3.13." % sys.version_info[:2])'
	@$(PYTHON) -c 'import venv, ensurepip' 2>/dev/null || { echo "$(PYTHON) lacks the module venv (Debian: apt-get install python3-venv)."; exit 1; }
	@echo "Making $(VENV) with Python $(VERSION)."
	@if ls $(VENV)/.made-* >/dev/null 2>&1; then $(PYTHON) -m venv --clear $(VENV); else $(PYTHON) -m venv $(VENV); fi
	@touch $@

$(RUN): requirements.lock scripts/lock | $(MADE)
	@echo "Installing what the site needs, from the hashed lock."
	@$(PY) scripts/lock --view demo > $(VENV)/view.txt
	@$(INSTALL) -r $(VENV)/view.txt
	@$(PY) manage.py collectstatic --noinput --verbosity 0
	@touch $@

$(TEST): requirements.lock | $(MADE)
	@echo "Installing what the site and its tests need, from the hashed lock."
	@$(INSTALL) -r requirements.lock
	@$(PY) manage.py collectstatic --noinput --verbosity 0
	@touch $@ $(RUN)

run: $(RUN) ## The site with a demo world on http://127.0.0.1:8000 (ARGS="--port 9000 --reset")
	@exec $(PY) manage.py demo $(ARGS)

test: $(TEST) ## Every test, on servers of its own (T="-m 'not browser and not chaos'" is the short loop)
	@scripts/need-chromium
	@scripts/need-prometheus
	$(PY) -m pytest -n 3 --dist worksteal $(T)
	TEST_DATABASE=sqlite $(PY) -m pytest -n 2 --dist worksteal --second-database $(T)

check: $(TEST) ## Style, types, import contracts, migrations, deployment, docs, lock; needs no server, changes no file
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/ruff check .
	$(VENV)/bin/mypy
	$(VENV)/bin/lint-imports
	$(PY) manage.py makemigrations --check --dry-run
	scripts/check-deploy
	scripts/lock --check
	$(PY) scripts/messages --check
	$(PY) -m pytest -q --no-servers --durations=0 tests/test_architecture.py tests/test_docs.py

bench: $(TEST) ## Ratios of speed, measured on this machine
	@scripts/need-wrk
	$(PY) benchmarks/run.py $(ARGS)

chaos: $(TEST) ## The long proof: kills and freezes of real servers (CHAOS_SECONDS=600, then every test marked chaos or long)
	$(PY) -m tests.chaos.consistency.long
	$(PY) -m pytest --long -m "chaos or long" $(T)

certify: $(TEST) ## AuthZEN's certification levels against servers of its own (ARGS="--address URL --key certification=KEY")
	$(PY) scripts/certify $(ARGS)
