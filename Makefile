# Everything sets itself up: `make demo` or `make test` on a fresh machine is enough.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INPUTS ?= 1000000
PEERS := pcx ngclearn torch

# Text is read and written as UTF-8 everywhere: where Python would choose by itself, tests fail.
PYTEST := PYTHONWARNDEFAULTENCODING=1 $(BIN)/pytest

# Whole commands and long trainings, of which quick tests run only parts.
LONG := tests/baselines tests/estimators/test_estimators.py tests/estimators/test_listening.py tests/measures
LONG += $(patsubst %,tests/study/test_%.py,reproduce tune worker)
LONG += $(patsubst %,tests/test_%.py,assess cli evaluate export first_hour hub)
COVERED := PYTHONWARNDEFAULTENCODING=1 $(BIN)/coverage run -m pytest

.PHONY: demo help test test-all test-oldest test-newest package quick coverage lint dev mutate fuzz bench study-fast bench-peers clean
.PRECIOUS: .bench/%/.made

demo: $(VENV)/.run  ## train on MNIST and look at what was learned (under 10 minutes)
	$(BIN)/gncn train --preset mnist --out runs/demo --overwrite
	$(BIN)/gncn reconstruct runs/demo
	$(BIN)/gncn settle runs/demo --index 7

help:  ## these lines
	@sed -nE 's/^([a-z-]+):.*  ## (.*)/\1\t\2/p' $(MAKEFILE_LIST) | expand -t 14

test: $(VENV)/.dev  ## lint, types and quick tests
	$(MAKE) --jobs 2 lint quick

quick: $(VENV)/.dev  ## quick tests alone
	$(PYTEST) -n 2 --dist worksteal -m "not slow"

coverage: $(VENV)/.dev  ## which lines and branches of the library tests run (long)
	$(BIN)/coverage erase
	$(COVERED) -n 2 --dist worksteal -m "not slow"
	$(COVERED) -n 2 --dist worksteal -m slow $(LONG)
	$(BIN)/coverage combine --quiet
	$(BIN)/coverage json --quiet
	$(BIN)/python scripts/covered.py .cache/coverage/report.json

test-all: lint  ## the same with many examples of each property, and tests that train for minutes
	$(PYTEST) -n 2 --dist worksteal -m "not slow" --hypothesis-profile=all
	JAX_DISABLE_MOST_OPTIMIZATIONS=0 $(PYTEST) -n 2 --dist worksteal -m slow

test-oldest:  ## quick tests with Python 3.11 and the oldest packages supported
	$(PYTHON) scripts/versions.py oldest

test-newest:  ## quick tests with the newest Python and packages that can be installed
	$(PYTHON) scripts/versions.py newest

package:  ## build the wheel and the source archive, and try them in a clean environment
	$(PYTHON) scripts/package.py

lint: $(VENV)/.dev  ## style and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright

dev: $(VENV)/.dev  ## an environment to work in, with checks before each commit
	$(BIN)/pre-commit install

mutate: $(VENV)/.dev  ## break the library on purpose, line by line: tests must notice
	$(BIN)/python tests/mutate.py

fuzz: $(VENV)/.dev  ## feed the readers of files with a million harmed ones (INPUTS=1000: fewer)
	-$(BIN)/pip install --quiet --disable-pip-version-check 'atheris==3.0.0'
	$(BIN)/python -m tests.fuzz.run --inputs $(INPUTS)

bench: $(VENV)/.dev  ## measure speed, memory and the first commands on this machine
	$(BIN)/python -m benchmarks.speed --out results/bench
	$(BIN)/python -m benchmarks.first_hour --out results/bench

bench-peers: $(VENV)/.dev $(PEERS:%=.bench/%/.made)  ## measure it against other libraries
	$(BIN)/python -m benchmarks.peers $(foreach peer,$(PEERS),--$(peer) .bench/$(peer)/bin/python) --out results/bench --document docs/performance.md

.bench/%/.made: benchmarks/constraints-%.txt
	$(PYTHON) -m venv .bench/$*
	.bench/$*/bin/pip install --quiet --disable-pip-version-check -c $< $* $(if $(filter torch,$*),numpy)
	touch $@

$(VENV)/.run: pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "gncn needs Python 3.11 or newer: make PYTHON=python3.12 ...")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e .
	touch $@

$(VENV)/.dev: $(VENV)/.run
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	touch $@

study-fast: $(VENV)/.dev  ## compare the ways of saving settling steps (hours; goes on where it was)
	$(BIN)/python -m benchmarks.fast

clean:  ## remove environments, compiled programs and all runs
	rm -rf $(VENV) .bench .cache runs
