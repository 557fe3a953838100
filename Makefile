# `make help` lists what there is. Nothing here needs root but `make install`; as root, missing system
# packages are installed, otherwise they are named with the command that installs them.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

BIN := .venv/bin
PREFIX ?= /opt/norn-reconciler
PYTEST_ARGS ?=
# Most tests wait for servers: two processes, each with servers of its own, file by file, those that
# last longest (tests/acceptance) first.
BESIDE ?= --numprocesses=2 --dist=loadfile --no-loadscope-reorder
RENEW ?=

.PHONY: help
help: ## what there is
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-14s %s\n", $$1, $$2}'

# The pinned packages, then the project itself, editable.
$(BIN)/norn: requirements-dev.lock pyproject.toml
	@infra/packages python3
	@echo "preparing .venv (the first time it downloads some 150 MB)"
	@python3 -m venv .venv
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-dev.lock
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

.PHONY: infra
infra: $(BIN)/norn ## Valkey :6379, Redpanda :19092, Console :8090 (Docker), else the embedded stack
	@infra/up

.PHONY: infra-stop
infra-stop: ## stop what `make infra` started; data stays
	@infra/down

.PHONY: db
db: $(BIN)/norn ## users norn, norn_keeper and norn_admin, database norn_db; idempotent
	@$(BIN)/python -m infra db $(RENEW)
	@$(BIN)/norn db upgrade

.PHONY: doctor
doctor: $(BIN)/norn ## health of all services, and what would break later
	@$(BIN)/norn doctor

.PHONY: run
run: $(BIN)/norn ## the daemon, in the foreground
	@$(BIN)/norn run

.PHONY: demo
demo: $(BIN)/norn ## the whole story in about a minute, in a throw-away folder
	@infra/packages java mvn
	@$(BIN)/python -m infra.demo

.PHONY: check
check: $(BIN)/norn ## ruff, mypy, import rules, unit tests
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m pytest tests/unit $(PYTEST_ARGS)

.PHONY: test
test: $(BIN)/norn ## the whole suite on real servers
	@infra/packages java mvn postgresql-15
	@[ "$$(id -u)" -ne 0 ] || infra/packages systemd # only root can boot it in namespaces
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m pytest $(BESIDE) $(PYTEST_ARGS)

.PHONY: test-compose
test-compose: $(BIN)/norn ## the same suite on what `make infra` started in Docker
	@infra/test-compose $(PYTEST_ARGS)

.PHONY: bench
bench: $(BIN)/norn ## the workload of docs/performance.md beside its floor
	@infra/packages java mvn
	$(BIN)/python -m bench

.PHONY: install
install: ## under PREFIX with a systemd unit, a user, and /etc/norn-reconciler (needs root)
	@infra/install $(PREFIX)
