# Two commands are all the set-up there is: `make` re-runs the claims, `make test` runs the tests.
SCALE ?= digits
SWEEPS ?= false
PYTHON ?= python3

BIN := .venv/bin
READY := .venv/.installed
# What is installed in .venv comes first for every command, and for what that command starts.
RUN := PATH="$(CURDIR)/$(BIN):$$PATH"
SNAKEMAKE := $(RUN) snakemake --cores all --config scale=$(SCALE) sweeps=$(SWEEPS)
SWEEPS_FLAG := $(if $(filter true,$(SWEEPS)),--sweeps)

.PHONY: all test lint bench reference lock mutants adopt deps help
.DEFAULT_GOAL := all

all: $(READY) ## re-run the claims and print the verdicts (SCALE=digits, fashion or paper; SWEEPS=true)
	@$(RUN) python workflow/unlock.py
	$(SNAKEMAKE)
	@$(RUN) reclaim report --scale $(SCALE)

test: $(READY) ## run the tests
	$(RUN) OMP_NUM_THREADS=1 pytest --numprocesses auto --dist loadfile --no-loadscope-reorder

lint: $(READY) ## check style, types, spelling, the workflow and the committed plans
	$(RUN) ruff check
	$(RUN) ruff format --check
	$(RUN) mypy
	$(RUN) codespell
	$(RUN) bandit --quiet --recursive --configfile pyproject.toml src workflow
	$(RUN) snakefmt --check Snakefile workflow/rules
	$(RUN) snakemake --lint
	@for scale in digits fashion paper; do \
	    $(RUN) reclaim plan --check --scale $$scale || exit 1; \
	done

bench: $(READY) ## how much of the bare network's speed each recipe keeps, and how fast the verbs start
	$(RUN) OMP_NUM_THREADS=1 python -m tests.bench $(SCALE)

reference: $(READY) ## bring results/reference up to date: train what changed (hours), copy what is kept
	$(MAKE) all SCALE=digits SWEEPS=true
	$(RUN) python workflow/keep.py digits
	$(MAKE) all SCALE=fashion SWEEPS=true
	$(RUN) python workflow/keep.py fashion

lock: $(READY) ## make the stored results of the regression tests anew, and show what changed
	-$(RUN) OMP_NUM_THREADS=1 pytest -m regression --regen-all
	git --no-pager diff -- tests results/reference/audit.json
	git status --short -- tests results/reference/audit.json

mutants: $(READY) ## break the audit's arithmetic in every small way and see its quick tests fail
	$(RUN) OMP_NUM_THREADS=1 mutmut run
	$(RUN) mutmut results

adopt: $(READY) ## let Snakemake and DVC accept verified results that they did not make themselves
	$(RUN) reclaim verify --scale $(SCALE) $(SWEEPS_FLAG)
	$(RUN) reclaim gather --scale $(SCALE) $(SWEEPS_FLAG)
	$(RUN) reclaim judge --scale $(SCALE)
	$(RUN) reclaim report --scale $(SCALE)
	$(RUN) reclaim bundle --scale $(SCALE)
	$(RUN) reclaim audit > /dev/null
	$(SNAKEMAKE) --touch --forceall
	@if grep -q '^scale: $(SCALE)$$' params.yaml; then $(RUN) dvc commit --force; else \
	    echo "params.yaml names another scale than $(SCALE): DVC is left as it is"; fi

deps: $(READY) ## resolve the dependencies of pyproject.toml into envs/requirements.lock
	$(RUN) uv pip compile pyproject.toml --all-extras --universal --python-version 3.11 --quiet \
	    --generate-hashes --annotation-style line --custom-compile-command "make deps" \
	    --output-file envs/requirements.lock $(DEPS)

help: ## show this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' Makefile

$(READY): envs/requirements.lock pyproject.toml | $(BIN)/pip
	$(BIN)/python -m pip install --requirement envs/requirements.lock
	$(BIN)/python -m pip install --no-deps --no-build-isolation --editable .
	@touch $@

$(BIN)/pip:
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' || { \
	    echo "reclaim needs Python 3.11, 3.12 or 3.13 and '$(PYTHON)' is not one:" \
	        "name it, as in 'make PYTHON=python3.12'" >&2; exit 1; }
	$(PYTHON) -m venv .venv
