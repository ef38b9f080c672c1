# Each target works from a fresh clone: it makes a virtual environment of its own in .venv,
# once, with the versions in constraints.txt. PYTHON=python3.12 chooses another Python, and
# VENV=.venv-3.12 keeps its environment apart.

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --quiet --disable-pip-version-check
# Many tests wait for processes rather than work, so more of them than cores is quicker.
TEST_JOBS ?= 4
# A process that finishes its part takes half of what another has left.
TEST_OPTIONS := --numprocesses=$(TEST_JOBS) --dist=worksteal
ARGS ?=

# Otherwise each process of the tests would compile all modules for itself, and pytest its checks.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: fuzz monkey chaos mutants help demo run test compiled smoke pythons lint format bench soak screenshots reference clean
.DEFAULT_GOAL := help

help:
	@echo "make demo     five jobs, workers, a retry and the DLQ, in a scratch store"
	@echo "make run      queuectl itself: make run ARGS='status'"
	@echo "make test     the test suite: make test ARGS='tests/domain -k backoff'"
	@echo "make pythons  a short part of the suite on every other Python that we claim"
	@echo "make fuzz     anything at all on the command line: make fuzz EXAMPLES=5000"
	@echo "make monkey   random keys in the console: make monkey KEYS=100000"
	@echo "make chaos    attacks on the promises: make chaos ARGS='--seed 7 --minutes 10'"
	@echo "make mutants  faults that the tests must find: make mutants SAMPLE=60 SEED=7"
	@echo "make lint     ruff, mypy and the import contracts"
	@echo "make bench    how quick it is, beside its peers (half an hour): make bench ARGS=drain"
	@echo "make soak     everything at once, for long: make soak MINUTES=60"
	@echo "make screenshots  the console's pictures, from a seeded store"
	@echo "make reference    the pages of the documentation that the code decides"
	@echo "make format   put the code in form"
	@echo "make clean    remove what the others made"

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "queuectl needs Python 3.11 or newer: make PYTHON=python3.12 …")'
	@$(PYTHON) -m venv $(VENV)

$(VENV)/.ready-to-run: pyproject.toml constraints.txt | $(BIN)/python
	@echo "Setting up $(VENV) (once) …" >&2
	@$(PIP) install --constraint constraints.txt --editable '.[web,metrics]'
	@touch $@

# Python compiles what is imported. To compile all of it at once takes a third of the set-up.
$(VENV)/.ready-to-develop $(VENV)/.ready-to-smoke: export PIP_COMPILE = 0

$(VENV)/.ready-to-develop: pyproject.toml constraints.txt | $(BIN)/python
	@echo "Setting up $(VENV) with the development tools (once) …" >&2
	@$(PIP) install --constraint constraints.txt --editable '.[postgres,web,metrics,smoke,dev]'
	@touch $@ $(VENV)/.ready-to-run

$(VENV)/.ready-to-smoke: pyproject.toml constraints.txt | $(BIN)/python
	@echo "Setting up $(VENV) for a short test (once) …" >&2
	@$(PIP) install --constraint constraints.txt --editable '.[postgres,web,metrics,smoke]'
	@touch $@

$(VENV)/.ready-to-bench: $(VENV)/.ready-to-develop
	@$(PIP) install --constraint constraints.txt --editable '.[postgres,web,metrics,smoke,dev,bench]'
	@touch $@

$(VENV)/.ready-for-mutants: $(VENV)/.ready-to-develop
	@$(PIP) install --constraint constraints.txt --editable '.[postgres,web,metrics,smoke,dev,mutants]'
	@touch $@

demo: $(VENV)/.ready-to-run
	@$(BIN)/queuectl demo

run: $(VENV)/.ready-to-run
	@$(BIN)/queuectl $(or $(ARGS),--help)

test: $(VENV)/.ready-to-develop
	@$(BIN)/python -m pytest --quiet $(TEST_OPTIONS) $(ARGS)

# Each process of the tests would compile all of them for itself, at the same time as the others.
compiled: $(VENV)/.ready-to-develop
	@$(BIN)/python -m pytest --quiet --collect-only tests >/dev/null

# What may differ between versions of Python: imports, times, whole supervisors, the command line.
# Short, because CI runs it for each version.
SMOKE := tests/architecture/test_versions.py tests/domain/test_times.py tests/acceptance/test_jobs.py

smoke: $(VENV)/.ready-to-smoke
	@$(BIN)/python -m pytest --quiet --numprocesses=2 -k 'not postgres' $(SMOKE) $(ARGS)

# Those beside the oldest one, which `make lint test` runs on. A version that is not installed is
# left out, and this is said.
PYTHONS ?= 3.12 3.13

pythons:
	@for version in $(PYTHONS); do \
		for python in python$$version $${PYENV_ROOT:-$$HOME/.pyenv}/versions/$$version.*/bin/python; do \
			if $$python -c '' 2>/dev/null; then \
				$$python --version && $(MAKE) smoke PYTHON=$$python VENV=.venv-$$version || exit 1; \
				continue 2; \
			fi; \
		done; \
		echo "Python $$version is not installed, so it was not tried"; \
	done

# For each of seven tests.
EXAMPLES ?= 1000

fuzz: $(VENV)/.ready-to-develop
	@FUZZ_EXAMPLES=$(EXAMPLES) TEST_TIME_LIMIT=86400 $(BIN)/python -m pytest --quiet $(TEST_OPTIONS) tests/fuzz $(ARGS)

KEYS ?= 100000

monkey: $(VENV)/.ready-to-develop
	@MONKEY_KEYS=$(KEYS) TEST_TIME_LIMIT=86400 $(BIN)/python -m pytest --quiet -s tests/console/test_monkey.py $(ARGS)

chaos: $(VENV)/.ready-to-develop
	@$(BIN)/python -m chaos $(ARGS)

# MODULES are files or folders of the code; SAMPLE is how many mutants of them, without it all.
JOBS ?= 2

mutants: $(VENV)/.ready-for-mutants
	@$(BIN)/python -m mutants $(MODULES) $(if $(SAMPLE),--sample $(SAMPLE)) $(if $(SEED),--seed $(SEED)) --jobs $(JOBS) $(ARGS)

lint: $(VENV)/.ready-to-develop
	@$(BIN)/ruff check --quiet .
	@$(BIN)/ruff format --check --quiet . || { echo "make format puts these in form:" >&2; $(BIN)/ruff format --check . >&2; exit 1; }
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-logo --no-cache

format: $(VENV)/.ready-to-develop
	@$(BIN)/ruff check --quiet --fix --exit-zero .
	@$(BIN)/ruff format --quiet .

# MINUTES is how long the sustained load takes. Peers that are not installed are left out.
MINUTES ?= 10

bench: $(VENV)/.ready-to-bench
	@$(BIN)/python benchmarks/run.py --minutes $(MINUTES) $(ARGS)

soak: $(VENV)/.ready-to-develop
	@$(BIN)/python benchmarks/soak.py --minutes $(MINUTES) $(ARGS)

screenshots: $(VENV)/.ready-to-develop
	@$(BIN)/python screenshots/make.py $(ARGS)
	@$(BIN)/python screenshots/dashboard.py

reference: $(VENV)/.ready-to-run
	@$(BIN)/python docs/generate.py $(ARGS)

clean:
	@rm -rf .venv .venv-* build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis .cache *.egg-info
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +
