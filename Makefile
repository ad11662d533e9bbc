# Each target is a line or two that can be typed without make, on Windows too
# (.venv\Scripts\ in place of .venv/bin/).

PYTHON ?= python3
ifeq ($(OS),Windows_NT)
BIN := .venv/Scripts
else
BIN := .venv/bin
endif
PYTEST := -m pytest -n auto
# mkdocs-material's notice about its successor is no warning about these pages.
export NO_MKDOCS_2_WARNING := 1
PURE := events/*,journal/*,projections/*,certeasy/decide/*

.DEFAULT_GOAL := help
.PHONY: help venv install demo demo-adcs test check lint types docs fuzz interop windows test-all lock clean

help: ## show this list
	@sed -n 's/^\([a-z-]*\):[^#]*## /\1\t/p' Makefile | expand -t 12

venv: ## make .venv with everything that `make check` needs
	@$(PYTHON) -m tools.environment check

install: ## put what a server needs into .venv, and nothing else
	@$(PYTHON) -m tools.environment runtime

demo: ## start a server, obtain a certificate from it, go on serving until Ctrl-C
	@$(PYTHON) -m tools.environment demo
	@$(BIN)/python -m tools.foreground $(BIN)/certeasy demo

demo-adcs: ## the same with a simulated Windows CA that the server enrols at
	@$(PYTHON) -m tools.environment demo
	@$(BIN)/python -m tools.foreground $(BIN)/python -m tools.adcs_sim.demo

test: ## run the tests, on all cores
	@$(PYTHON) -m tools.environment test
	@$(BIN)/python $(PYTEST)

check: lint docs fuzz ## lint, types, import picture, documents, a little fuzzing, tests and coverage: what has to pass
	@$(BIN)/coverage erase
	@$(BIN)/coverage run $(PYTEST)
	@$(BIN)/coverage combine --quiet
	@$(BIN)/coverage report
	@$(BIN)/coverage report --include='$(PURE)' --fail-under=100

lint: venv ## ruff, mypy, import-linter, hadolint
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports
	@if [ -x $(BIN)/hadolint ]; then $(BIN)/hadolint Dockerfile; fi # it is not for every platform

docs: venv ## build the documents into site/, strictly
	@$(BIN)/mkdocs build --strict --quiet

fuzz: ## give the readers of requests any bytes, SECONDS (3) for each of them
	@$(PYTHON) -m tools.environment test
	@$(BIN)/python -m tools.fuzz --seconds $(or $(SECONDS),3)

interop: ## drive every ACME client there is, and print the table (root: installs what is missing)
	@$(PYTHON) -m tools.environment test
	@sh tests/clients/packages.sh
	@$(BIN)/python -m pip install --quiet --require-hashes --requirement requirements/interop.txt --requirement requirements/release.txt
	@$(BIN)/python $(PYTEST) -m '' --timeout 300 tests/clients tests/packaging/test_release.py

windows: ## of `make interop`, which installs wine: the server, its service and SSPI on Windows' own Python
	@$(BIN)/python -m pytest -m '' --timeout 300 tests/clients/test_windows.py

test-all: ## run the tests on every Python 3.11 or later that is installed here
	@sh tools/every_python.sh

lock: venv ## write requirements/*.txt anew (UPGRADE=--upgrade takes the newest that fit)
	@$(BIN)/python -m pip install --quiet --require-hashes --requirement requirements/lock.txt
	@$(BIN)/python -m tools.lock $(UPGRADE)

clean: ## remove what was built here, the environment too
	rm -rf .venv site dist build .coverage* .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
