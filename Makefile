# Every target builds what it needs, inside this folder only: .venv, .cache, build.
PYTHON ?= python3
VENV   := .venv
PY     := $(VENV)/bin/python
export PIP_CACHE_DIR := $(CURDIR)/.cache/pip
export RUFF_CACHE_DIR := $(CURDIR)/.cache/ruff
export MYPY_CACHE_DIR := $(CURDIR)/.cache/mypy
export PIP_DISABLE_PIP_VERSION_CHECK := 1
export PIP_ROOT_USER_ACTION := ignore
export PYTHONDONTWRITEBYTECODE :=

.PHONY: help setup setup-sweeps setup-tpm demo test test-fast fuzz check bench lock clean

help:
	@echo "make demo    set up, then run the whole story on this machine"
	@echo "make test    set up, then run every test"
	@echo "make fuzz    throw far more at the doors than the tests do; an hour or so"
	@echo "make check   format, lint, types, floor plan, docs"
	@echo "make bench   measure the numbers in benchmarks/README.md"
	@echo "make clean   remove everything that the other targets made"

setup: $(VENV)/.ready

$(VENV)/.ready: requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "skerry needs Python 3.11 or newer, this is " + sys.version.split()[0])'
	@echo "Setting up .venv (once; about a minute)" >&2
	@$(PYTHON) -m venv --clear $(VENV)
	@$(PY) -m pip install -qq --require-hashes --no-deps -r requirements.lock
	@$(PY) -m pip install -qq --no-deps --no-build-isolation --editable .
	@touch $@

demo: setup
	@$(VENV)/bin/skerry demo --folder build/demo

# The node's half of attestation: built from source, so it needs gcc, pkg-config and libtss2-dev.
setup-tpm: setup
	@$(PY) -m pip install -qq --require-hashes --no-deps -r requirements-tpm.lock

# Sweeps over many machines: Ray, which is larger than all of skerry's other parts together.
setup-sweeps: setup
	@$(PY) -m pip install -qq --require-hashes --no-deps -r requirements-sweeps.lock

# Whole fleets run one at a time, after everything else: they want the machine for themselves.
test: setup
	@$(PY) -m pytest -p no:cacheprovider -m "not slow" $(ARGS)
	@$(PY) -m pytest -p no:cacheprovider -m slow -rs

test-fast: setup
	@$(PY) -m pytest -p no:cacheprovider -m "not slow" $(ARGS)

fuzz: setup
	@$(PY) tests/fuzz/long.py $(ARGS)

check: setup
	@$(VENV)/bin/ruff format --check --quiet .
	@$(VENV)/bin/ruff check --quiet .
	@$(VENV)/bin/mypy
	@$(PY) tools/floor_plan.py
	@$(PY) tools/check_docs.py
	@$(PY) tools/check_tree.py

bench: setup
	@$(PY) benchmarks/run.py $(ARGS)

# Needs uv (a package of that name); the lock holds hashes and no index address.
lock:
	uv pip compile --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
	  --no-emit-find-links --no-header --extra all --group dev pyproject.toml -o requirements.lock

clean:
	rm -rf $(VENV) .cache build .hypothesis .pytest_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
