# Two commands do everything on a fresh machine with Python 3.11 or newer:
#   make demo    install into .venv and run the default study
#   make test    install into .venv and run all checks and tests
PYTHON ?= $(firstword $(foreach name,python3.13 python3.12 python3.11 python3 python,\
  $(shell $(name) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $(name))))
BIN := .venv/bin
WORKERS ?= 2
# one thread per worker: with more than there are cores, each would wait for the others'
PYTEST = OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(WORKERS)

.DEFAULT_GOAL := help
.PHONY: help install demo test check fast bench accuracy clean

help: ## list the targets
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-8s %s\n", $$1, $$2}'

install: .venv/.installed ## create .venv and install the package with its tools

.venv/.installed: pyproject.toml
	@test -n "$(PYTHON)" || { echo "make: Python 3.11 or newer is needed; name it with PYTHON=<path>"; exit 2; }
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --editable ".[dev]"
	@touch $@

demo: install ## the default study: Shapley values of ten contributors of handwriting
	$(BIN)/credit

test: check ## formatting, types and all tests
	$(PYTEST) --dist loadfile --no-loadscope-reorder

check: install ## formatting and types only
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

fast: install ## the tests that take seconds
	$(PYTEST) -m "not slow"

bench: install ## speed, memory and scaling, as one table of ratios against stated references
	$(BIN)/python benchmarks/bench.py

accuracy: install ## fine-tuning against retraining, estimators against exact values: hours
	$(BIN)/python benchmarks/fidelity.py
	$(BIN)/python benchmarks/estimators/compare.py --draws 6

clean: ## remove .venv and caches; outputs stay
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache
