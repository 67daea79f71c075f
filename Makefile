# The workshop of mlstore. Every verb sets up what it needs: Python 3.11 or later, a C compiler and make are enough.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
SANITIZE := build/sanitize
COVERAGE := build/coverage

KERNELS := $(wildcard src/mlstore/_core/*.pyx src/mlstore/_core/*.pxd)
SOURCES := $(shell find src -name '*.py' -o -name '*.pyi')
CORES := $(shell getconf _NPROCESSORS_ONLN 2>/dev/null || echo 1)
ASAN := $(shell $(or $(CC),cc) -print-file-name=libasan.so 2>/dev/null)
STDCXX := $(shell $(or $(CC),cc) -print-file-name=libstdc++.so.6 2>/dev/null)

WORKLOAD ?= storage
ENGINES ?=
ROWS ?= 1000000
REPEAT ?= 3
SCALE ?= 1
SEED ?=
SOAK_REPORT ?= build/soak.txt

.DEFAULT_GOAL := help
.PHONY: help demo test check bench debug soak coverage docs build clean

help:  ## list these verbs
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-8s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: build  ## the main job on generated data, in under half a minute
	$(BIN)/mlstore demo

test: build  ## the whole suite, warnings are errors
	$(BIN)/python -m pytest -q

check: build  ## format, lint, types, and the rules of the house
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/python -m pytest -q tests/architecture

bench: build  ## one benchmark: WORKLOAD=storage ROWS=1000000 REPEAT=3 ENGINES="mlstore duckdb"
	$(BIN)/python -m benchmarks $(WORKLOAD) --rows $(ROWS) --repeat $(REPEAT) $(if $(ENGINES),--engine $(ENGINES))

debug: $(SANITIZE)/.built  ## unit and property tests, and hostile files, on kernels with bounds checks, line tracing and sanitizers
	LD_PRELOAD="$(ASAN) $(STDCXX)" ASAN_OPTIONS=detect_leaks=0 UBSAN_OPTIONS=print_stacktrace=1 \
	PYTHONMALLOC=malloc PYTHONPATH=$(SANITIZE)/lib \
	$(BIN)/python -m pytest -q --timeout 1200 -m "not slow and not soak" tests/unit tests/property
	LD_PRELOAD="$(ASAN) $(STDCXX)" ASAN_OPTIONS=detect_leaks=0:handle_segv=0:handle_sigbus=0:handle_abort=0 PYTHONPATH=$(SANITIZE)/lib \
	MLSTORE_SOAK_SCALE=0.02 $(BIN)/python -m pytest -q --timeout 3600 -m soak tests/crash/test_hostile_files.py

soak: build  ## the tests that run for minutes on purpose, with a report: SCALE=0.1 does a tenth, SEED=7 the same again
	@mkdir -p $(dir $(SOAK_REPORT))
	$(BIN)/python -m pytest -q --timeout 3600 --hypothesis-profile=thorough tests/property
	MLSTORE_SOAK_SCALE=$(SCALE) MLSTORE_SOAK_REPORT=$(SOAK_REPORT) $(if $(SEED),MLSTORE_SOAK_SEED=$(SEED)) \
	$(BIN)/python -m pytest -q --timeout 3600 -m soak || [ $$? -eq 5 ]  # 5: no test is marked soak
	@cat $(SOAK_REPORT)

coverage: build  ## the whole suite, and how much of each floor under the face it ran: lines and branches
	@rm -rf $(COVERAGE) && mkdir -p $(COVERAGE)
	$(BIN)/coverage run -m pytest -q --timeout 1200
	$(BIN)/coverage combine -q
	@for floor in format storage engine; do \
	  printf '%-8s' $$floor; $(BIN)/coverage report --format=total --precision=1 --include="*/mlstore/$$floor/*"; done

docs: build  ## check every link and run every block of the documentation
	$(BIN)/python -m pytest -q tests/architecture/test_guide.py tests/architecture/test_links.py

build: $(VENV)/.kernels  ## the virtual environment and the compiled kernels, if anything changed
	@:

clean:  ## remove what was built; the virtual environment stays
	rm -rf build dist src/*.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis .benchmarks $(VENV)/.kernels
	find src -name '*.so' -delete
	find . -name __pycache__ -not -path './$(VENV)/*' -prune -exec rm -rf {} +

$(VENV)/.python:
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "mlstore needs Python 3.11 or later: make PYTHON=python3.12 ...")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install -q --disable-pip-version-check --upgrade pip
	@touch $@

$(VENV)/.tools: $(VENV)/.python pyproject.toml
	$(BIN)/python -m pip install -q --disable-pip-version-check --group dev
	@# The kernels are compiled below, once and only when they change.
	MLSTORE_KERNELS=none $(BIN)/python -m pip install -q --disable-pip-version-check --no-build-isolation --editable .
	@touch $@

$(VENV)/.kernels: $(VENV)/.tools setup.py $(KERNELS)
	$(BIN)/python setup.py -q build_ext --inplace --parallel $(CORES)
	@touch $@

$(SANITIZE)/.built: $(VENV)/.kernels setup.py $(KERNELS) $(SOURCES)
	MLSTORE_BUILD=sanitize $(BIN)/python setup.py -q build --build-base $(SANITIZE) --build-lib $(SANITIZE)/lib --parallel $(CORES)
	@touch $@
