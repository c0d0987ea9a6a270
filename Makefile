# The README's commands. The environment is made once; touch requirements.txt to make it anew.
VENV := .venv
PYTHON ?= python3
RUN := . $(VENV)/bin/activate &&
READY := $(VENV)/.ready

.PHONY: demo reproduce test lint readme bench

demo: $(READY)  ## the whole pipeline on digits, with the one thread of the committed results; two gain nothing here
	$(RUN) OMP_NUM_THREADS=1 dvc repro render_report@digits
	@echo "The report: $(CURDIR)/reports/digits.html"

reproduce: $(READY)  ## all datasets: hours on a CPU
	$(RUN) dvc repro
	@echo "The reports: $(CURDIR)/reports/index.html"

readme: $(READY)  ## the tables of results and of speeds, from the committed metrics and benchmarks
	$(RUN) PYTHONPATH=. python benchmarks/readme.py

bench: $(READY) .peers/.ready  ## after a full run: the engine against the peers and the ceiling, cost, memory
	$(RUN) export PYTHONPATH=. && for name in ceiling generation scaling attacks dropout_ensemble gac; do \
	python benchmarks/$$name.py || exit 1; done

.peers/.ready: benchmarks/requirements.txt | $(READY)
	$(RUN) python -m pip install --quiet --disable-pip-version-check --no-deps --target .peers --upgrade \
	--requirement benchmarks/requirements.txt
	touch $@

test: $(READY)
	$(RUN) OMP_NUM_THREADS=1 python -m pytest -n 2 --dist loadfile

lint: $(READY)
	$(RUN) ruff check . && ruff format --check . && mypy

$(READY): requirements.txt requirements-no-deps.txt
	$(PYTHON) -m venv $(VENV)
	$(RUN) python -m pip install --quiet --disable-pip-version-check --requirement requirements.txt
	$(RUN) python -m pip install --quiet --disable-pip-version-check --no-deps --requirement requirements-no-deps.txt
	touch $@
