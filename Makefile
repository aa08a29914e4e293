# Two commands do everything on a fresh machine: `make demo` and `make test`. No Docker, no root.

PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
READY  := $(VENV)/.emsd-installed

DURATION ?=
SEED     ?= 1

.DEFAULT_GOAL := help
.PHONY: help demo test lint format bench dashboards schemas clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
	@echo
	@echo "  make demo DURATION=60   stops by itself after 60 s and compares every meter with the truth"

$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "emsd needs Python 3.11 or later: make PYTHON=/path/to/python3.11 ..."; exit 1; }
	@echo "Installing emsd into $(VENV) (first time about a minute)"
	@$(PYTHON) -m venv $(VENV) \
	  || { echo "Python's venv module is missing (Debian: apt install python3-venv)"; exit 1; }
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $@

demo: $(READY) ## a simulated factory, measured by the real chain, on embedded real servers
	@$(BIN)/emsd demo --seed $(SEED) $(if $(DURATION),--duration $(DURATION))

# The tests start emsd a hundred times over; where a machine forbids to keep compiled modules, each start compiles them.
test: export PYTHONDONTWRITEBYTECODE :=
test: $(READY) ## all tests, on a real TimescaleDB and a real Mosquitto
	@$(BIN)/python -m pytest -n 3 --dist loadfile --no-loadscope-reorder $(PYTEST_ARGS)

lint: $(READY) ## ruff, mypy --strict and the import rules
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-cache

format: $(READY) ## let ruff format and mend what it can
	@$(BIN)/ruff check --fix-only --quiet .
	@$(BIN)/ruff format .

bench: $(READY) ## what emsd costs, as ratios to the bare libraries in the same run
	@$(BIN)/python -m bench $(BENCH)

dashboards: $(READY) ## write the Grafana JSON anew from the code that defines it
	@$(BIN)/python -m dashboards.generate

schemas: $(READY) ## write the JSON Schemas of plant and profile files anew
	@$(BIN)/emsd schema plant > config/plant.schema.json
	@$(BIN)/emsd schema profile > config/profile.schema.json

clean: ## remove what the targets above made; the private servers' cache stays
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis dist build
