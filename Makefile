# Every target sets up what it needs in its own virtual environment; running it again is quick.
#
#   PYTHON       the interpreter to build the environment from (3.11 or newer)
#   TORCH        which torch the tests and training use; the service itself needs none
#   TORCH_INDEX  where to take it from. On a machine that reaches PyTorch's own index, the CPU build
#                (0.2 GB instead of 3 GB) is had with
#                  make test TORCH_INDEX=https://download.pytorch.org/whl/cpu
#   STUDIES      how many synthetic studies `make evaluate` judges on
#   REAL_DATA    folder with real_studies/ and real_dicom/ for evaluation on real scans

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

PYTHON ?= python3
VENV ?= .venv
TORCH ?= torch==2.13.0
TORCH_INDEX ?=
REAL_DATA ?= ../shared
WORKERS ?= 2
STUDIES ?= 60

BIN := $(VENV)/bin
PIP := $(BIN)/pip --disable-pip-version-check --quiet
CODE := models service training tests docs data_samples

.PHONY: help demo serve test soak lint bench evaluate evaluate-localiser evaluate-real clean venv tools

help:  ## Show this list
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16

venv: $(VENV)/.served  ## Set up what the service needs (no torch)

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "Python 3.11 or newer is needed; set PYTHON=..." >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/.served: pyproject.toml | $(VENV)/bin/python
	$(PIP) install -e .
	@touch $@

# torch first and by itself, so that no other package's range can pull another build of it.
$(VENV)/.tested: pyproject.toml | $(VENV)/bin/python
	$(PIP) install $(if $(TORCH_INDEX),--index-url $(TORCH_INDEX)) '$(TORCH)'
	$(PIP) install -e '.[train,dev]'
	@touch $@ $(VENV)/.served

tools:  ## Install the DICOM validators that the tests compare with (Debian)
	@.ci/tools

demo: $(VENV)/.served  ## Start the service, send it a sample study, print the report, stop it
	$(BIN)/python docs/demo.py

serve: $(VENV)/.served  ## Start the service and its page on 127.0.0.1:8000
	ACUITY_WORK_DIR="$${ACUITY_WORK_DIR:-var}" $(BIN)/acuity serve

lint: $(VENV)/.tested  ## Check style, types and who imports whom
	$(BIN)/ruff check $(CODE)
	$(BIN)/ruff format --check $(CODE)
	$(BIN)/mypy
	$(BIN)/lint-imports

test: $(VENV)/.tested tools lint  ## Run every check and the whole test suite
	ACUITY_REAL_DATA="$${ACUITY_REAL_DATA:-$(REAL_DATA)}" \
	  $(BIN)/pytest -n $(WORKERS) --dist worksteal -m 'not soak'

soak: $(VENV)/.tested  ## Run the tests that take an hour: kill -9 by the hundred, the whole story of retraining
	$(BIN)/pytest -m soak

bench: $(VENV)/.tested  ## Time stages beside floors and a stock network, the service, batches
	@worst=0; for part in benchmark benchmark.service benchmark.network benchmark.batch; do \
	  $(BIN)/python -m tests.$$part || worst=1; done; exit $$worst

evaluate: $(VENV)/.tested  ## Judge the shipped bundles on held-out synthetic studies (kept in var/)
	$(BIN)/acuity train evaluate --synthetic validate --count $(STUDIES) \
	  --studies var/evaluation/studies --out var/evaluation
	$(BIN)/python -m training.scorer.evaluate --out var/evaluation/scorer
	-$(BIN)/python -m training.scorer.controls --held-out var/evaluation/scorer/held_out \
	  --studies var/evaluation/studies

evaluate-localiser: $(VENV)/.tested  ## Judge outlines and names on synthetic scans, held out and spoilt
	$(BIN)/python -m training.localiser.evaluate

evaluate-real: $(VENV)/.tested  ## Say how the networks do on real scans in REAL_DATA
	ACUITY_REAL_DATA="$${ACUITY_REAL_DATA:-$(REAL_DATA)}" $(BIN)/python -m training.evaluate_real

clean:  ## Remove the environment, caches and results
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis \
	  .import_linter_cache demo-out
