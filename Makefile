# make demo: install into .venv, then index and search generated pictures, offline.
# make test: install into .venv with the test tools, then run every test.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin

.PHONY: demo test lint install docs bench gpu dist lower-bounds clean

demo: $(VENV)/.installed
	$(BIN)/python examples/demo.py

# Three processes, on two cores: each waits a third of its time, for files that it reads and processes that it starts. With
# one hash seed they collect the same tests in the same order. Each file's tests, and all that need a Ray cluster, run in one
# of them, so that what they share is made once.
test: $(VENV)/.installed-dev
	PYTHONHASHSEED=0 $(BIN)/python -m pytest -n 3

lint: $(VENV)/.installed-dev
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports

# Regenerates what is written by a program: the command reference.
docs: $(VENV)/.installed-dev
	$(BIN)/python docs/generate_cli.py

# Measures solvers and indexing on this machine and writes what it found into the README, the solvers' rows also into
# benchmarks/solvers.json, which is kept with it; takes some minutes, on a machine that does nothing else.
bench: $(VENV)/.installed
	OMP_NUM_THREADS=1 $(BIN)/python benchmarks/solvers.py --readme README.md --out benchmarks/solvers.json
	$(BIN)/python benchmarks/indexing.py --readme README.md
	OMP_NUM_THREADS=1 $(BIN)/python benchmarks/reduced_decoding.py --document docs/images.md

# What needs a CUDA device: its tests, then the tables of indexing and of matching, in about ten minutes.
gpu: $(VENV)/.installed-dev
	$(BIN)/python -m pytest tests/gpu tests/unit/retrieval/matching/test_cuda.py tests/property/test_device_maps.py
	$(BIN)/python benchmarks/gpu_indexing.py --out build/gpu_indexing.md --json build/gpu_indexing.json
	$(BIN)/python benchmarks/gpu.py --out build/gpu.md --json build/gpu.json

# Builds sdist and wheel into dist/, checks them, and installs and uses both in a clean environment, which it removes.
dist:
	PYTHON=$(PYTHON) .ci/dist

# Runs the tests with the oldest release of every dependency that pyproject.toml allows, those of the extra cluster by
# themselves; downloads gigabytes.
lower-bounds:
	$(PYTHON) .ci/lower_bounds
	$(PYTHON) .ci/lower_bounds --cluster

install: $(VENV)/.installed

# torch and torchvision are asked for together, so that pip chooses a pair that fits.
$(VENV)/.installed: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet "torch>=2.9" torchvision
	$(BIN)/python -m pip install --quiet --editable .
	touch $@

$(VENV)/.installed-dev: $(VENV)/.installed
	$(BIN)/python -m pip install --quiet --editable ".[dev]"
	touch $@

clean:
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache
