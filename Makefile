# Two verbs set everything up: `make reproduce` and `make test`. `make` alone lists all of them.

PYTHON ?= python3
CHAPTER ?=
SET ?=
PICTURES ?=
PROBLEMS ?=
export WIDELINEAR_SET := $(SET)
VENV := .venv
READY := $(VENV)/ready
LOOK := _build/look
RUN := $(VENV)/bin/python -m
PAGES := $(wildcard chapters/[0-9]*.ipynb)

.DEFAULT_GOAL := help
.NOTPARALLEL:
.PHONY: help reproduce test lint types check book unit pages look wheel execute seeds cost refresh assignments clean

help:  ## List the verbs
	@awk -F ':.*## ' '/^[a-z]+:.*## /{printf "make %-11s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

reproduce: SCALE ?= smoke
reproduce: $(READY)  ## Run the chapters, build the book, print the ledger: [SCALE=smoke|laptop|paper] [CHAPTER=01] [SET="name=value"]
	@$(RUN) tools.chapters reproduce --scale "$(SCALE)" --chapter "$(CHAPTER)"

test: lint types check book unit pages  ## All checks, the quick ones first; the first that fails stops

lint: $(READY)  ## Style, form and spelling
	@echo "== lint: ruff, codespell"
	@$(RUN) ruff check --quiet
	@$(RUN) ruff format --check --quiet
	@$(RUN) codespell_lib

types: $(READY)  ## Static types
	@echo "== types: mypy"
	@$(RUN) mypy

check: $(READY)  ## Stored outputs, their stamps, their texts and the ledger agree
	@echo "== check: stored outputs"
	@$(RUN) tools.chapters check

book: $(READY)  ## Build the book from the stored outputs, with warnings as errors
	@echo "== book: Jupyter Book"
	@$(RUN) tools.chapters book

# Most of the time of tests and of small pages is compilation: XLA is asked to try less hard.
QUICK_TO_COMPILE = XLA_FLAGS="$(XLA_FLAGS) --xla_backend_optimization_level=$(1)"

unit: $(READY)  ## Unit tests and doctests
	@echo "== unit: pytest"
	@$(call QUICK_TO_COMPILE,0) $(RUN) pytest -q -n 2

# The options of pyproject.toml are for tests of the library; a notebook is code of its own.
pages: $(READY)  ## Run every cell of every chapter at the smoke scale, and compare the verdicts with the stored ones
	@echo "== pages: nbval at the smoke scale"
	@$(call QUICK_TO_COMPILE,1) WIDELINEAR_SCALE=smoke $(RUN) pytest -q -c /dev/null --rootdir . -p no:cacheprovider -n 2 --dist loadscope \
		--nbval-lax --nbval-current-env --nbval-cell-timeout 300 $(PAGES)

look: $(LOOK)/node_modules book  ## Open every page of the book in Chromium: axe, weight, sliders; needs npm: [CHAPTER=01] [PICTURES=yes]
	@echo "== look: axe in Chromium"
	@cd $(LOOK) && node ../../tools/look.mjs ../html "$(CHAPTER)" $(PICTURES)

wheel: $(READY)  ## Build the wheel, install it in a bare environment elsewhere, run the README's example there
	@echo "== wheel: build, install, run"
	@$(RUN) tools.wheel

execute: SCALE ?= laptop
execute: $(READY)  ## Run the chapters and keep their claims; at laptop also store their outputs: [SCALE=] [CHAPTER=]
	@$(RUN) tools.chapters execute --scale "$(SCALE)" --chapter "$(CHAPTER)"

seeds: SCALE ?= smoke
seeds: $(READY)  ## Run the chapters on five fresh seeds and print what every claim measured: [SCALE=] [CHAPTER=]
	@$(RUN) tools.chapters seeds --scale "$(SCALE)" --chapter "$(CHAPTER)"

cost: $(READY)  ## Trace the published size of chapters without running it, and keep what it would cost: [CHAPTER=]
	@$(RUN) tools.chapters cost --chapter "$(CHAPTER)"

refresh: $(READY)  ## Bring notebooks and texts together, run exactly the stale pages, write the ledger
	@$(RUN) tools.chapters pair
	@$(RUN) tools.chapters execute --stale
	@$(RUN) tools.chapters ledger
	@$(RUN) tools.chapters front

# Otter brings a hundred packages that nothing else here needs.
assignments: $(READY)  ## Make student notebooks and autograders, grade the solutions and all wrong answers: [PROBLEMS=ps1]
	@$(RUN) pip install --quiet --editable ".[book,grading]"
	@$(RUN) tools.assignments --set "$(PROBLEMS)"

clean:  ## Remove the environment and all that was built
	rm -rf $(VENV) _build build .pytest_cache .mypy_cache .ruff_cache .hypothesis src/*.egg-info

$(LOOK)/node_modules: tools/look.mjs
	@command -v npm >/dev/null || { echo "make look needs node and npm: install them." >&2; exit 1; }
	@npm install --prefix $(LOOK) --no-audit --no-fund --loglevel=error playwright-core@1.65.1 axe-core@4.14.1
	@touch $@

$(READY): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
		echo "$(PYTHON) is not Python 3.11 or newer: install it, or name it, for example with PYTHON=python3.12." >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
		echo "$(PYTHON) cannot make environments: install its venv package (on Debian: apt install python3-venv)." >&2; exit 1; }
	@echo "== environment: installing into $(VENV), some minutes the first time"
	@$(PYTHON) -m venv $(VENV)
	@$(RUN) pip install --quiet --editable ".[book,test]"
	@touch $@
