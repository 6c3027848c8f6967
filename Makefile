# `make` alone lists the targets. Needs make and Python 3.11, 3.12 or 3.13; nothing else.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check

# Some tests wait more than they work, so three processes keep two cores busy.
PYTEST := $(BIN)/python -m pytest -n 3 --dist worksteal

# A stamp is newer than its lock file while the environment holds what the lock names.
RUNTIME := $(VENV)/runtime.stamp
DEV := $(VENV)/dev.stamp
BENCH := $(VENV)/bench.stamp
DOCS := $(VENV)/docs.stamp

LOCK := uv pip compile pyproject.toml --quiet --universal --python-version 3.11 --generate-hashes \
	--no-annotate --no-emit-index-url --no-emit-find-links --custom-compile-command "make lock" $(UPGRADE)

# Installs what a lock file names, and counts the packages. If pip fails, its whole log is shown.
define install
@rm -f $(VENV)/failed
@{ $(PIP) install --require-hashes --requirement $(1) 2>&1 || touch $(VENV)/failed; } | tee $(VENV)/pip.log | { \
	all=$$(grep -c '==' $(1)) n=0; \
	while read -r line; do case $$line in Collecting*|Ignoring*|'Requirement already'*) \
		n=$$((n + 1)); [ ! -t 1 ] || printf '\r  %d of %d packages' $$n $$all;; \
		Installing*) [ ! -t 1 ] || printf ', installing';; esac; \
	done; [ ! -t 1 ] || echo; }
@[ ! -e $(VENV)/failed ] || { cat $(VENV)/pip.log >&2; exit 1; }
endef

export PIP_ROOT_USER_ACTION := ignore

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help run test test-fast coverage check format bench docs lock released clean

help: ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1	\2/p' Makefile | expand -t 18

run: $(RUNTIME) ## ingest 2,000 WordNet definitions and search them
	@$(BIN)/agent-storage ingest examples/wordnet.jsonl --project wordnet --json >/dev/null
	$(BIN)/agent-storage search "a person who teaches" --project wordnet --limit 3
	$(BIN)/agent-storage search "speak loudly" --project wordnet --mode words --limit 3
	@printf '%s\n' '' \
		'2,000 definitions are stored in data/; delete that folder to start over. Now try:' \
		'  $(BIN)/agent-storage search "your own words" --project wordnet' \
		'  $(BIN)/agent-storage ingest your.jsonl --project yours   (the format: examples/README.md)' \
		'  $(BIN)/agent-storage verify                              (compare the two stores)' \
		'  $(BIN)/agent-storage config show                         (every setting and its source)' \
		'  $(BIN)/agent-storage --help'

test: $(DEV) ## run the tests (PostgreSQL included, nothing to install)
	$(PYTEST) $(ARGS)

test-fast: $(DEV) ## the tests but those marked slow; a minute
	$(PYTEST) -m "not slow" $(ARGS)

coverage: $(DEV) ## run the tests and print what they don't reach; fails below the floor in pyproject.toml
	$(PYTEST) --cov $(ARGS)

check: $(DEV) ## lint, format, types, the direction of imports, spelling and style
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/codespell
	$(BIN)/codespell --dictionary .codespell-words.txt app bench config.yml containers.py deploy docs examples *.md
	$(BIN)/mdformat --check $$(git ls-files '*.md')

format: $(DEV) ## format the code and fix what the linter can
	$(BIN)/ruff format
	$(BIN)/ruff check --fix
	$(BIN)/mdformat $$(git ls-files '*.md')

bench: $(BENCH) ## run the benchmarks, each in a process of its own
	@set -e; for script in bench/[a-z]*.py; do echo "== $$script"; $(BIN)/python $$script; done

docs: $(DOCS) ## build the documentation's site into site/; a broken link is an error
	@rm -rf site
	$(BIN)/python -m sphinx --fail-on-warning --keep-going --quiet --fresh-env --doctree-dir .doctrees docs site
	@echo 'Open site/index.html'

lock: ## resolve the dependencies again (needs uv; UPGRADE=--upgrade takes newer versions)
	@command -v uv >/dev/null || { echo 'make lock needs uv: pip install uv' >&2; exit 1; }
	$(LOCK) --group build --output-file requirements.lock
	$(LOCK) --group dev --constraints requirements.lock --output-file requirements-dev.lock
	$(LOCK) --group bench --constraints requirements-dev.lock --output-file requirements-bench.lock
	$(LOCK) --group docs --constraints requirements-dev.lock --output-file requirements-docs.lock

released: $(DEV) ## write the stores of a release for the tests of upgrades: make released VERSION=0.1.0
	PYTHONPATH=tests $(BIN)/python -m support.released $(VERSION)

clean: ## remove the environment and what the tools made; your data/ stays
	rm -rf $(VENV) build dist site docs/reference .doctrees *.egg-info .coverage* .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache
	find app bench docs examples tests -name __pycache__ -type d -prune -exec rm -rf {} +

$(RUNTIME): requirements.lock pyproject.toml
	@command -v "$(PYTHON)" >/dev/null || { \
		echo 'There is no $(PYTHON) here. Name a Python 3.11, 3.12 or 3.13: make PYTHON=...' >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 14))' || { \
		echo "agent-storage needs Python 3.11, 3.12 or 3.13, and $(PYTHON) is $$($(PYTHON) --version 2>&1)." \
			'Name another: make PYTHON=python3.12 ...' >&2; exit 1; }
	@echo 'Setting up $(VENV), once: about a minute'
	@$(PYTHON) -m venv $(VENV)
	$(call install,requirements.lock)
	@$(PIP) install --quiet --no-deps --no-build-isolation --editable .
	@touch $@

$(DEV): requirements-dev.lock $(RUNTIME)
	@echo 'Adding the tools for tests and checks to $(VENV)'
	$(call install,requirements-dev.lock)
	@touch $@

$(BENCH): requirements-bench.lock $(DEV)
	@echo 'Adding what the benchmarks compare with to $(VENV)'
	$(call install,requirements-bench.lock)
	@touch $@

$(DOCS): requirements-docs.lock $(RUNTIME)
	@echo 'Adding what builds the documentation to $(VENV)'
	$(call install,requirements-docs.lock)
	@touch $@
