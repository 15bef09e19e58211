# The one door to the project; continuous integration goes through it too. `make help` lists what it can do.

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
# Touched when the environment holds what pyproject.toml asks for.
READY := $(VENV)/.ready
# Those that need neither arguments nor training.
BENCHMARKS := benchmarks/startup.py benchmarks/latency.py

.DEFAULT_GOAL := help
.PHONY: help install demo test check format bench clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-8s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

install: $(READY) ## make .venv with the package, its tools and what export needs

$(READY): pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --upgrade pip
	$(BIN)/python -m pip install --editable ".[dev,export,bench]"
	touch $@

demo: $(READY) ## train and run a small model, and show what came out
	$(BIN)/python examples/demo.py

test: $(READY) ## run the tests
	$(BIN)/python -m pytest --numprocesses auto --dist loadgroup $(ARGS)

check: $(READY) ## lint, format check, types
	$(BIN)/python -m ruff check .
	$(BIN)/python -m ruff format --check .
	$(BIN)/python -m mypy

format: $(READY) ## put the code into the format that check wants
	$(BIN)/python -m ruff check --fix .
	$(BIN)/python -m ruff format .

bench: $(READY) ## print the figures that take minutes, not hours
	set -e; for script in $(BENCHMARKS); do echo "== $$script"; $(BIN)/python $$script; done

clean: ## remove .venv and what tools left behind
	rm -rf $(VENV) build dist .mypy_cache .pytest_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
