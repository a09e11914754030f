# `make demo` and `make test` are the two commands of a fresh machine; both make what they need and are quick again.
# Every target takes PYTHON (3.11 or newer), PIP_FLAGS and ARGS, for example
#   make test PYTHON=python3.12 PIP_FLAGS="--extra-index-url https://download.pytorch.org/whl/cpu" ARGS="-k bm25"
# (that index has torch without its 3 GB of CUDA libraries).

PYTHON ?= python3
PIP_FLAGS ?=
ARGS ?=

VENV := .venv
VENV_DEMO := .venv-demo
PIP := python -m pip install --quiet --quiet --disable-pip-version-check $(PIP_FLAGS) -c constraints.txt
PINS := pyproject.toml constraints.txt
SOURCES := $(shell find reasonembed -type f -not -path '*/__pycache__/*')

.DEFAULT_GOAL := help
MINI ?= mini
.PHONY: help demo install test check bench docs mini clean

help:  ## this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "make %-8s %s\n", $$1, $$2}' Makefile

demo: $(VENV_DEMO)/.installed  ## install the base package alone (no torch) and run `reasonembed demo`
	@$(VENV_DEMO)/bin/reasonembed demo $(ARGS)

install: $(VENV)/.installed  ## install the package, all that the tests need, and the tools, in .venv

test: $(VENV)/.installed  ## run all tests, one process a core
	@$(VENV)/bin/python -m pytest -n auto $(ARGS)

check: $(VENV)/.installed  ## formatting, lint, types
	@$(VENV)/bin/ruff format --check .
	@$(VENV)/bin/ruff check .
	@$(VENV)/bin/mypy

bench: $(VENV)/.installed  ## run every script in benchmarks/; ARGS=--full for all of it
	@for script in benchmarks/*.py; do \
	  [ -e "$$script" ] || { echo "benchmarks/ holds no script"; exit 1; }; \
	  echo "== $$script"; $(VENV)/bin/python "$$script" $(ARGS) || exit 1; \
	done

docs: $(VENV)/.installed  ## write docs/cli.md from the --help of every command, then build the pages of docs/ into site/
	@$(VENV)/bin/typer reasonembed.cli utils docs --name reasonembed --title "Command line" --output docs/cli.md
	@$(VENV)/bin/zensical build --strict

mini: $(VENV)/.installed  ## rebuild reasonembed-mini in MINI=mini; DATA=folder of shared data; two hours or three
	@test -d "$(DATA)" || { echo "say where: make mini DATA=../shared/data"; exit 2; }
	@$(VENV)/bin/python scripts/make_mini.py "$(DATA)" -o "$(MINI)"

clean:  ## remove the virtual environments and what tools left
	@rm -rf $(VENV) $(VENV_DEMO) build dist site .cache .pytest_cache .mypy_cache .ruff_cache .hypothesis
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(VENV_DEMO)/.installed: $(PINS) $(SOURCES)
	@$(call make_venv,$(VENV_DEMO))
	@echo "installing the base package in $(VENV_DEMO) ..."
	@$(VENV_DEMO)/bin/$(PIP) .
	@touch $@

$(VENV)/.installed: $(PINS)
	@$(call make_venv,$(VENV))
	@echo "installing the package with its development tools in $(VENV); torch alone takes minutes the first time ..."
	@$(VENV)/bin/$(PIP) -e '.[dev]'
	@touch $@

define make_venv
command -v $(PYTHON) >/dev/null || { echo "error: $(PYTHON) not found. Fix: make PYTHON=/path/to/python3.11"; exit 1; }; \
$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
  { echo "error: $$($(PYTHON) --version) is too old, 3.11 or newer is needed. Fix: make PYTHON=python3.11"; exit 1; }; \
[ -x $(1)/bin/python ] || $(PYTHON) -m venv $(1) || \
  { rm -rf $(1); echo "error: no virtual environment. Fix: on Debian and Ubuntu, apt install python3-venv"; exit 1; }
endef
