# Each target does its own set-up on a machine with Python >= 3.11 and nothing else.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
TEST_WORKERS ?= 2

.PHONY: demo test bench drill lint clean

demo: $(STAMP)
	$(BIN)/csro run demo

test: $(STAMP)
	@for package in chromium prometheus; do command -v $$package >/dev/null || sh deploy/system_package.sh $$package || exit 1; done
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/python -m pytest -n $(TEST_WORKERS) --dist loadfile --no-loadscope-reorder

bench: $(STAMP)
	$(BIN)/python -m pytest tests/benchmarks -q -s -p no:cacheprovider --override-ini python_files='bench_*.py'

# As root: `ray up` on three machines made of namespaces, a head that is gone for a minute, and 100 kills. 20 minutes.
drill: $(STAMP)
	@for each in sshd:openssh-server rsync:rsync ip:iproute2 chromium:chromium systemd-analyze:systemd; do \
		command -v $${each%:*} >/dev/null || sh deploy/system_package.sh $${each#*:} || exit 1; done
	$(BIN)/python -m pytest tests/cluster/drill_ray_up.py -s
	CSRO_DRILL_KILLS=100 $(BIN)/python -m pytest tests/cluster/test_kills.py -s

lint: $(STAMP)
	$(BIN)/ruff check . && $(BIN)/mypy

$(STAMP): pyproject.toml constraints.txt sandbox/plain_rounds.c deploy/setup.sh deploy/system_package.sh
	PYTHON=$(PYTHON) sh deploy/setup.sh $(VENV)
	touch $(STAMP)

clean:
	rm -rf $(VENV) build dist *.egg-info sandbox/_plain_rounds.*
