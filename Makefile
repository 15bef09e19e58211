# The one door to the project; continuous integration goes through it too. `make help` lists what it can do.

PYTHON ?= python3
VENV ?= .venv
SCRIPTS := $(if $(filter Windows_NT,$(OS)),Scripts,bin)
BIN := $(VENV)/$(SCRIPTS)
# What `make install` adds to the package.
EXTRAS ?= dev,export,bench,ray
# Touched when the environment holds what pyproject.toml asks for.
READY := $(VENV)/.ready
# Every export format: gigabytes, and older releases of what the others share.
EXPORTS := $(VENV)-exports
# The tools that the package is tried with: gigabytes, too.
INTEGRATIONS := $(VENV)-integrations
# Those that need neither arguments nor training; the last writes what the others found into the documents.
BENCHMARKS := benchmarks/models.py benchmarks/reference.py benchmarks/training.py benchmarks/growth.py benchmarks/roofline.py \
    benchmarks/report.py

.DEFAULT_GOAL := help
.PHONY: help install demo fast test fuzz crashes exports integrations gpu compat upstream check format bench clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

install: $(READY) ## make .venv with the package, its tools and what export needs

$(READY): pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --upgrade pip
	$(BIN)/python -m pip install --editable ".[$(EXTRAS)]"
	touch $@

demo: $(READY) ## train and run a small model, and show what came out
	$(BIN)/python examples/demo.py

fast: $(READY) ## run the tests that need no training, some cases of each; ARGS="-k starnet" chooses
	$(BIN)/python -m pytest --numprocesses auto --dist loadgroup --fast $(ARGS)

test: $(READY) ## run the tests
	$(BIN)/python -m pytest --numprocesses auto --dist loadgroup $(ARGS)

fuzz: $(READY) ## try random rows, names, files and arguments; FUZZ_EXAMPLES=50000 by default, FUZZ_SEED drawn
	seed=$${FUZZ_SEED:-$$($(BIN)/python -c "import random; print(random.randrange(10**9))")}; echo "FUZZ_SEED=$$seed"; \
	FUZZ_SEED=$$seed FUZZ_EXAMPLES=$${FUZZ_EXAMPLES:-50000} $(BIN)/python -m pytest --numprocesses auto tests/test_fuzz.py $(ARGS)

crashes: $(READY) ## kill a training ten times, and resume it each time
	KILLS=10 $(BIN)/python -m pytest tests/test_crashes.py $(ARGS)

exports: $(EXPORTS)/.ready ## run the tests of every export format, in an environment of their own
	$(EXPORTS)/$(SCRIPTS)/python -m pytest tests/test_exports.py --exports $(ARGS)

gpu: $(READY) ## run the tests that need a GPU
	$(BIN)/python -m pytest tests/test_gpu.py $(ARGS)

integrations: $(INTEGRATIONS)/.ready ## run the tests with the tools of docs/integrations.md, in an environment of their own
	$(INTEGRATIONS)/$(SCRIPTS)/python -m pytest tests/test_integrations.py --integrations $(ARGS)

$(EXPORTS)/.ready: OWN := dev,export-all
$(INTEGRATIONS)/.ready: OWN := dev,integrations
$(EXPORTS)/.ready $(INTEGRATIONS)/.ready: pyproject.toml
	$(PYTHON) -m venv $(@D)
	$(@D)/$(SCRIPTS)/python -m pip install --upgrade pip
	$(@D)/$(SCRIPTS)/python -m pip install --editable ".[$(OWN)]"
	touch $@

compat: $(READY) ## try old and new releases of Ultralytics, Python, torch and timm; ARGS="--only 8.2.0" chooses
	$(BIN)/python compatibility/releases.py $(ARGS)

upstream: $(READY) ## run Ultralytics' own tests without the package, with it, and with its models; ARGS="--modes off,on"
	$(BIN)/python compatibility/upstream.py $(ARGS)

check: $(READY) ## lint, format check, types, layers
	$(BIN)/python -m ruff check .
	$(BIN)/python -m ruff format --check .
	$(BIN)/python -m mypy
	$(BIN)/lint-imports

format: $(READY) ## put the code into the format that check wants
	$(BIN)/python -m ruff check --fix .
	$(BIN)/python -m ruff format .

bench: $(READY) ## measure the figures of README's performance section, and write them into it
	set -e; for script in $(BENCHMARKS); do echo "== $$script"; $(BIN)/python $$script; done

clean: ## remove the environments and what tools left behind
	rm -rf $(VENV) $(EXPORTS) $(INTEGRATIONS) build dist .mypy_cache .pytest_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
