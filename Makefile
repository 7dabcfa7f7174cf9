# Two commands from a fresh clone: `make demo` and `make test`. Needs python3 >= 3.11 and the package registries.
PYTHON ?= python3
BIN := .venv/bin
CORE := .venv-core/bin
AS_ROOT := $(shell [ "$$(id -u)" = 0 ] || echo sudo)
PIP := $(BIN)/python -m pip --disable-pip-version-check install -q
CORE_PIP := $(CORE)/python -m pip --disable-pip-version-check install -q

.PHONY: demo test fast core contract check bench compiler stores browser clean

demo: .venv/demo.installed
	$(BIN)/python -m pipelines.cli.demo

test: .venv/dev.installed compiler stores browser
	$(BIN)/python -m pytest -q -n 2 --dist loadgroup

# Without Ray clusters, object stores and several processes.
fast: .venv/dev.installed
	$(BIN)/python -m pytest -q -n 2 --dist loadgroup -m "not ray and not store and not distributed and not slow"

# The pure part alone, where Ray is not installed: an environment of its own, whose packages are pyproject's.
core: .venv-core/installed compiler
	$(CORE)/python -m pytest -q -n 2 --dist loadgroup tests/core

# The contract of every algorithm; with ALAE_PRESETS=/path/to/my_preset.py, of yours alone (docs/your_own.md).
contract: .venv/dev.installed
	$(BIN)/python -m pytest -q tests/contract/test_algorithms.py

check: .venv/dev.installed
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/python -m tests.repo.wording
	$(BIN)/codespell README.md CHANGELOG.md CONTRIBUTING.md docs dev alae_core pipelines tuning cluster

# Speed on this machine, in minutes; options in docs/benchmark.md.
bench: .venv/demo.installed
	$(BIN)/python -m benchmarks.step

.venv/bin/python:
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "python 3.11 or newer is needed; try: make PYTHON=python3.11 $(MAKECMDGOALS)")'
	$(PYTHON) -m venv .venv

.venv/demo.installed: pyproject.toml | .venv/bin/python
	@echo "installing (a few minutes the first time) ..."
	$(PIP) -e '.[demo]'
	@touch $@

.venv/dev.installed: pyproject.toml | .venv/bin/python
	@echo "installing (a few minutes the first time) ..."
	$(PIP) -e '.[demo,test,dev]'
	@touch $@ .venv/demo.installed

.venv-core/installed: pyproject.toml
	$(PYTHON) -m venv .venv-core
	@echo "installing torch and what its tests need ..."
	@$(CORE)/python -c "$$CORE_REQUIREMENTS" > .venv-core/requirements.txt
	$(CORE_PIP) -r .venv-core/requirements.txt
	@touch $@

define CORE_REQUIREMENTS
import tomllib
project = tomllib.load(open("pyproject.toml", "rb"))["project"]
print(*[line for line in project["dependencies"] if line.startswith(("torch", "numpy", "scikit-learn"))], sep="\n")
print(*project["optional-dependencies"]["core-test"], sep="\n")
endef
export CORE_REQUIREMENTS

# The tests of compiled kernels need g++ and Python's headers; Debian's are fetched where they are missing.
compiler:
	@$(PYTHON) -c 'import os, shutil, sys, sysconfig; sys.exit(not (shutil.which("g++") and os.path.exists(sysconfig.get_path("include") + "/Python.h")))' \
	  || { echo "installing g++ and python3-dev ..."; $(AS_ROOT) apt-get update -q && $(AS_ROOT) apt-get install -y -q g++ python3-dev; }

# The tests of object stores run a Ceph of one node; Debian's packages of it are fetched where they are missing.
stores:
	@$(PYTHON) -c 'import shutil, sys; sys.exit(not all(map(shutil.which, ("ceph-mon", "ceph-osd", "radosgw"))))' \
	  || { echo "installing radosgw, ceph-mon and ceph-osd (about a minute) ..."; $(AS_ROOT) apt-get update -q \
	  && $(AS_ROOT) env DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends radosgw ceph-mon ceph-osd; }

# The tests of MLflow's pages open them in Chromium; Debian's is fetched where it is missing.
browser:
	@test -x /usr/bin/chromium -a -x /usr/bin/chromedriver \
	  || { echo "installing chromium and chromium-driver ..."; $(AS_ROOT) apt-get update -q \
	  && $(AS_ROOT) env DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends chromium chromium-driver; }

clean:
	rm -rf .venv .venv-core .pytest_cache .mypy_cache .ruff_cache *.egg-info
