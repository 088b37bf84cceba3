# Each target does its own set-up on a machine with Python >= 3.11 and nothing else.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
TEST_WORKERS ?= 2

.PHONY: demo test bench lint clean

demo: $(STAMP)
	$(BIN)/csro run demo

test: $(STAMP)
	@for package in chromium prometheus; do command -v $$package >/dev/null || sh deploy/system_package.sh $$package || exit 1; done
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/python -m pytest -n $(TEST_WORKERS) --dist loadgroup --no-loadscope-reorder

bench: $(STAMP)
	$(BIN)/python -m pytest tests/benchmarks -q -s -p no:cacheprovider --override-ini python_files='bench_*.py'

lint: $(STAMP)
	$(BIN)/ruff check . && $(BIN)/mypy

$(STAMP): pyproject.toml constraints.txt deploy/setup.sh deploy/system_package.sh
	PYTHON=$(PYTHON) sh deploy/setup.sh $(VENV)
	touch $(STAMP)

clean:
	rm -rf $(VENV) build dist *.egg-info
