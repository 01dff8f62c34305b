# What people and CI do with this repository; `make` alone lists it.

PYTHON ?= python3
VENV := .venv
RUN := $(VENV)/bin/python
INSTALL := $(RUN) -m pip install --no-compile --constraint constraints.txt

# pip would compile all of every package, for a minute; Python compiles what is imported, once, where it may keep it.
export PYTHONDONTWRITEBYTECODE :=

# Stamps: what is installed already. A newer pyproject.toml or constraints.txt installs again.
PACKAGE := $(VENV)/.package-installed
PAGES := $(VENV)/.pages-installed
TOOLS := $(VENV)/.tools-installed

PARTS := $(addprefix benchmarks/,apart.py asked_for.py machine.py rank_memory.py simulated_cluster.py)
BENCHMARKS := $(filter-out $(PARTS) benchmarks/full_size.py,$(wildcard benchmarks/*.py))

.DEFAULT_GOAL := help
.NOTPARALLEL:
.DELETE_ON_ERROR:
.PHONY: help demo dashboard test check format-check lint types docs docs-check wheel format bench clean

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: $(PACKAGE) ## ask the bundled model two benchmarks, four examples before each question (minutes)
	$(VENV)/bin/flab eval --model flamingo-tiny --tasks easy-vqa,shapes-binding --num-fewshot 4

dashboard: $(PAGES) ## open the dashboard on the results that come with the repository
	$(VENV)/bin/flab dashboard --demo

test: $(TOOLS) ## the whole test suite, in two processes of one thread each
	OMP_NUM_THREADS=1 $(RUN) -m pytest --numprocesses 2 --dist loadfile --no-loadscope-reorder

check: format-check lint types docs-check wheel test ## everything that CI runs

format-check: $(TOOLS) ## is the code formatted?
	$(RUN) -m ruff format --check .

lint: $(TOOLS) ## ruff's rules
	$(RUN) -m ruff check .

types: $(TOOLS) ## pyright, strict
	$(RUN) -m pyright

docs: $(TOOLS) ## write the pages that are made from the code
	$(RUN) docs/generate.py

docs-check: $(TOOLS) ## are those pages up to date?
	$(RUN) docs/generate.py --check

wheel: $(TOOLS) ## build the wheel, install it elsewhere, use it
	.ci/wheel $(RUN)

format: $(TOOLS) ## format the code and mend what ruff can
	$(RUN) -m ruff format .
	$(RUN) -m ruff check --fix .

bench: $(TOOLS) ## measure everything in benchmarks/ but full_size.py and write the reports
	@failed=; for script in $(BENCHMARKS); do echo "python $$script"; $(RUN) $$script || failed="$$failed $$script"; done; \
	  $(RUN) benchmarks/asked_for.py; \
	  [ -z "$$failed" ] || { echo "failed or short of what is asked for:$$failed" >&2; exit 1; }

clean: ## remove what make made; results stay
	rm -rf $(VENV) build dist .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(RUN):
	@$(PYTHON) -c 'import sys; sys.exit(None if sys.version_info >= (3, 11) else \
	  "Python 3.11 or newer is needed and this is %d.%d; name another one: make PYTHON=python3.12" % sys.version_info[:2])'
	$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); exit 1; }

$(PACKAGE): pyproject.toml constraints.txt | $(RUN)
	$(INSTALL) --editable .
	@touch $@

$(PAGES): pyproject.toml constraints.txt | $(RUN)
	$(INSTALL) --editable '.[dashboard]'
	@touch $@ $(PACKAGE)

$(TOOLS): pyproject.toml constraints.txt | $(RUN)
	$(INSTALL) --editable '.[dev]'
	@touch $@ $(PACKAGE)
