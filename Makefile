# Every target makes what it needs: `make run` on a fresh machine is one command.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --root-user-action=ignore
KILLS ?= 200
MINUTES ?= 20
CUTS ?= 2000
SECONDS ?= 60
SEEDS ?= 1000
INPUTS ?= 1000000
TIMEOUTS ?= 1000
LEVELS ?= isolated trusted
TESTERS ?= 3
SEED ?=

.DEFAULT_GOAL := help

help: ## show this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):[^#]*## (.*)/  make \1	\2/' | expand -t 20

run: $(VENV)/.run ## start the hub on this folder's triggerhub.toml
	@$(BIN)/triggerhub run

test: $(VENV)/.dev ## run the whole test suite, or a part: make test ARGS="-n 0 -k cron"
	$(BIN)/python -m pytest -q -n $(TESTERS) --dist loadfile --no-loadscope-reorder $(ARGS)

check: $(VENV)/.dev ## lint, types, import contracts
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

coverage: $(VENV)/.dev ## branch coverage of the policies and the stores
	$(BIN)/python -m pytest -q tests/policy tests/stores --cov=triggerhub/policy --cov=triggerhub/stores --cov-branch --cov-report=term-missing:skip-covered --cov-fail-under=95

chaos: $(VENV)/.dev ## kill the hub under load: make chaos KILLS=1000 SEED=7
	$(BIN)/python -m tests.e2e.chaos --kills $(KILLS) $(if $(SEED),--seed $(SEED))

queuekills: $(VENV)/.dev ## kill the hub at each step of handling a queue: make queuekills KILLS=200 SEED=7
	$(BIN)/python -m tests.e2e.queuekills --kills $(KILLS) $(if $(SEED),--seed $(SEED))

floods: $(VENV)/.dev ## hang and poison functions, flood and starve the hub: make floods MINUTES=10
	$(BIN)/python -m tests.e2e.floods --minutes $(MINUTES)

streamkills: $(VENV)/.dev ## kill the hub at each step of handling a stream: make streamkills KILLS=200 SEED=7
	$(BIN)/python -m tests.e2e.streamkills --kills $(KILLS) $(if $(SEED),--seed $(SEED))

outage: $(VENV)/.dev ## take a queue's and a stream's endpoint away for a while: make outage SECONDS=60
	$(BIN)/python -m tests.e2e.outages --seconds $(SECONDS)

operations: $(VENV)/.dev ## reload, migrate, damage, restore, start twice and stop: make operations SEED=7
	$(BIN)/python -m tests.e2e.operations $(if $(SEED),--seed $(SEED))

powercut: $(VENV)/.dev ## cut the power under the store: make powercut CUTS=2000 SEED=7
	$(BIN)/python -m tests.powercut.cuts --cuts $(CUTS) $(if $(SEED),--seed $(SEED))

soak: $(VENV)/.dev ## an even load for long, and what grows: make soak MINUTES=20
	$(BIN)/python -m tests.e2e.soak --minutes $(MINUTES)

faults: $(VENV)/.dev ## let each of the store's first writes and syncs fail: make faults SEED=7
	$(BIN)/python -m tests.faults.sweep $(if $(SEED),--seed $(SEED))
	$(BIN)/python -m pytest -q tests/faults/test_full_disk.py tests/faults/test_failing_sync.py

simulate: $(VENV)/.dev ## live through days of the hub in virtual time: make simulate SEEDS=10000, or SEED=7 for one
	$(BIN)/python -m tests.simulation.seeds $(if $(SEED),--seed $(SEED),--seeds $(SEEDS) $(if $(STATE),--state $(STATE)))

attacks: $(VENV)/.dev ## let every attack loose on a sandbox, and on none: make attacks LEVELS="isolated trusted"
	$(BIN)/python -m tests.runtimes.attacks.suite $(LEVELS)

timeouts: $(VENV)/.dev ## one timeout after the other, and what stays: make timeouts TIMEOUTS=1000
	$(BIN)/python -m tests.runtimes.timeouts --timeouts $(TIMEOUTS)

fuzz: $(VENV)/.dev ## feed the readers of frames and requests what is neither: make fuzz INPUTS=1000000 SEED=7
	$(BIN)/python -m tests.runtimes.fuzz --inputs $(INPUTS) $(if $(SEED),--seed $(SEED))

clocks: $(VENV)/.dev ## set the clock of a running hub, freeze it and thaw it
	$(BIN)/python -m tests.e2e.clocks

bench: $(VENV)/.dev ## measure the hub beside its peers: rates, lateness, cold starts, streams, queues, the Lambda API, the console
	$(BIN)/python bench/run.py
	$(BIN)/python bench/latency.py
	$(BIN)/python bench/cold.py
	$(BIN)/python bench/streams.py
	$(BIN)/python bench/sqs.py
	$(BIN)/python bench/lambda_api.py
	$(BIN)/python bench/console.py $(if $(PAGE),--minutes $(PAGE))

screenshots: $(VENV)/.dev ## draw docs/images anew: make screenshots SECONDS=120
	$(BIN)/python docs/screenshots.py $(if $(SECONDS),--seconds $(SECONDS))

wheel: $(VENV)/.dev ## build dist/*.whl
	$(BIN)/python -m build --wheel --outdir dist .

clean: ## remove the virtual environment and what was built
	rm -rf $(VENV) dist build .mypy_cache .ruff_cache .pytest_cache .import_linter_cache

# What is missing is said by make itself, in the one line that it has for errors.
answers = $(shell $(PYTHON) -c '$($(1))' 2>/dev/null && echo yes)
NEW := import sys; sys.exit(sys.version_info < (3, 11))
WHOLE := import ensurepip, venv
NO_PYTHON = triggerhub needs Python 3.11 or newer, which $(PYTHON) is not; install it (Debian, Ubuntu: apt install python3) or name another: make PYTHON=python3.12 run
NO_VENV = $(PYTHON) has no venv module; install the package that brings it (Debian, Ubuntu: apt install python3-venv)

# An interrupted venv has a python, but no pip yet.
$(BIN)/pip:
	$(if $(call answers,NEW),,$(error $(NO_PYTHON)))
	$(if $(call answers,WHOLE),,$(error $(NO_VENV)))
	@$(PYTHON) -m venv $(VENV)

$(VENV)/.run: pyproject.toml | $(BIN)/pip
	@echo "installing triggerhub into $(VENV), once" >&2
	@$(PIP) --editable .
	@touch $@

$(VENV)/.dev: pyproject.toml | $(BIN)/pip
	@echo "installing triggerhub and its tools into $(VENV), once" >&2
	@$(PIP) --editable '.[dev,jwt]'
	@touch $@ $(VENV)/.run

.PHONY: help run test check coverage chaos streamkills queuekills outage floods operations powercut faults simulate clocks attacks timeouts fuzz soak bench screenshots wheel clean
