# The README's commands. The environment is made once, and again where requirements or the folder changed.
VENV := .venv
PYTHON ?= python3
BIN := $(VENV)/bin
READY := $(VENV)/.ready
# A virtual environment holds its own path: in a folder that was moved it is made again.
ifneq ($(shell cat $(READY) 2>/dev/null),$(CURDIR))
$(shell rm -f $(READY))
endif
# DVC's commands find the same Python.
export PATH := $(CURDIR)/$(BIN):$(PATH)

.PHONY: help demo reproduce test test-slow lint bench study studies results

help:  ## this list
	@sed -n 's/^\([a-z-]*\):.*##/\1:/p' Makefile

demo: $(READY)  ## a small study of handwritten digits: every stage, from nothing to a report
	$(BIN)/dvc repro studies/demo/dvc.yaml
	@echo "The report: $(CURDIR)/reports/demo.html"

reproduce: $(READY)  ## the studies that params.yaml lists, and their comparison
	$(BIN)/dvc repro
	@echo "The reports: $(CURDIR)/reports/index.html"

study: $(READY)  ## make study NAME=mine [IMAGES=folder] [CLASSIFIER=nets.py:make WEIGHTS=file [MEAN=".5" STD=".2"]] [FROM=digits]: a new study
	$(BIN)/python -m pipeline.new_study $(if $(NAME),"$(NAME)") $(FROM) $(if $(IMAGES),--images "$(IMAGES)") \
	$(if $(CLASSIFIER),--classifier "$(CLASSIFIER)") $(if $(WEIGHTS),--weights "$(WEIGHTS)") \
	$(if $(MEAN),--mean $(MEAN)) $(if $(STD),--std $(STD))

studies: $(READY)  ## studies/pipeline.yaml and the params' schema into every study
	$(BIN)/python -m pipeline.new_study --refresh

test: $(READY)  ## all tests but the slow ones
	$(BIN)/python -m pytest -n 2 --dist loadfile -m "not slow"

test-slow: $(VENV)/.ray  ## those that take minutes each
	$(BIN)/python -m pytest -n 2 --dist loadfile -m slow

lint: $(READY)  ## ruff and mypy
	$(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/mypy

results: $(READY)  ## reports/README.md and benchmarks/README.md, from the committed metrics and benchmarks
	$(BIN)/python -m benchmarks.pages

bench: $(READY) .peers/.ready  ## after a full run: start-up, the engine against the peers and the ceiling, cost, memory
	for name in start_up ceiling generation scaling attacks convergence dropout_ensemble gac precision workers; do \
	$(BIN)/python -m benchmarks.$$name || exit 1; done

.peers/.ready: benchmarks/requirements.txt | $(READY)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --target .peers --upgrade \
	--requirement benchmarks/requirements.txt
	touch $@

# For the slow tests on a cluster.
$(VENV)/.ray: requirements-ray.txt $(READY)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --requirement requirements-ray.txt
	touch $@

$(READY): requirements.txt requirements-no-deps.txt
	$(PYTHON) -m venv --clear $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --requirement requirements.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --requirement requirements-no-deps.txt
	echo "$(CURDIR)" > $@
