PYTHON ?= python3
CORES ?= all
BIN = .venv/bin

unexport PYTHONDONTWRITEBYTECODE  # without compiled modules every Snakemake start takes three times as long

.PHONY: demo doctor report view test test-unit test-slurm test-faults accuracy train train-cv lint docs lock clean

# Find the nuclei of the demo: six real fields and a picture of tissue; a plate, a slide and a stack that are drawn with known nuclei.
SCORES = results/demo/cells_score.txt results/demo/score.txt results/demo/slide_score.txt results/demo/stack_score.txt
demo: .venv/installed
	$(BIN)/snakemake --cores $(CORES) --configfile config/demo/config.yaml -- all $(SCORES)
	@echo
	@cat $(SCORES)

# Whether this machine is fit: Python, disk, cores, memory, native libraries, and what only some runs need.
doctor: .venv/installed
	$(BIN)/python scripts/doctor.py

# One page with all pictures and run times, of the demo: results/report.html. CONFIG=config/config.yaml for your own plates.
CONFIG ?= config/demo/config.yaml
report: .venv/installed
	$(BIN)/snakemake --cores 1 --configfile $(CONFIG) --report results/report.html

# Show results/ in the browser, from this machine to this machine only; Ctrl-C ends it.
view: .venv/installed
	$(BIN)/python scripts/view.py

# Every test but those of Slurm, and every check of style; CORES tests at a time.
PYTEST = $(BIN)/python -m pytest --numprocesses $(CORES:all=logical) --dist worksteal
test: .venv/installed lint
	$(PYTEST)

# What needs no run of Snakemake and no browser.
test-unit: .venv/installed
	$(PYTEST) tests/unit

# The workflow on the Slurm of this machine; `sudo .venv/bin/python tests/slurm/lab.py start` starts one on Debian.
test-slurm: .venv/installed
	$(BIN)/python -m pytest tests/slurm --basetemp .slurm-tests

# What is damaged, misnamed, mistyped or killed ends as it must; writes the table of docs/reliability.md.
test-faults: .venv/installed
	PYTHONPATH=scripts:tests $(BIN)/python -m faults.report

# How right the nuclei are on annotated images, beside other methods; writes docs/accuracy.md.
accuracy: .venv/installed
	PYTHONPATH=scripts:tests $(BIN)/python -m accuracy.report

# Train the network that finds nuclei; FIELDS=folder MODEL=my.onnx goes on from the built-in one with fields of your own.
ANNOTATED = $(addprefix $(or $(FIELDWORK_TEST_DATA),../shared/data)/,annotated annotated_he)
TRAIN = PYTHONPATH=.:scripts:.training/packages $(BIN)/python -m
train: .training/installed
	$(TRAIN) training.train $(if $(FIELDS),$(FIELDS) --own --model $(or $(MODEL),network.onnx),$(ANNOTATED) --model scripts/fieldwork/segmentation/network.onnx)

# How right the network is on fields that it never saw, beside the classical detector; goes on after a stop.
train-cv: .training/installed
	$(TRAIN) training.cross_validate $(or $(FIELDS),$(ANNOTATED))

# PyTorch, apart from the workflow's environment.
.training/installed: .venv/installed training/requirements.txt
	$(BIN)/python -m pip install --disable-pip-version-check --quiet --target .training/packages --upgrade -r training/requirements.txt
	@touch $@

lint: .venv/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/snakefmt --check Snakefile rules
	$(BIN)/snakemake --lint

# docs/configuration.md, from the schema of the configuration, and all pages as a site: docs/_build/index.html.
docs: .venv/installed
	$(BIN)/python docs/write_configuration.py
	$(BIN)/python -m sphinx -W --keep-going -q docs docs/_build
	@echo docs/_build/index.html

# The exact packages, by hash. --no-deps: the lock is complete, and cuCIM would pull in 2.6 GB of CUDA libraries.
.venv/installed: envs/requirements.lock
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Fieldwork needs Python 3.11 or newer, found " + sys.version.split()[0] + "; name one: make PYTHON=python3.12 ...")'
	$(PYTHON) -m venv --clear .venv
	@$(BIN)/python envs/show_progress.py envs/requirements.lock $(BIN)/python -m pip install --progress-bar off \
		--disable-pip-version-check --no-deps --require-hashes -r envs/requirements.lock
	@touch $@

# New versions of everything (needs uv): with CUDA for GPU machines, and without.
lock:
	uv pip compile --quiet --universal --python-version 3.11 --fork-strategy fewest --generate-hashes --no-header \
		--no-annotate --upgrade --override envs/overrides.txt envs/requirements.in --output-file envs/gpu.lock
	uv pip compile --quiet --universal --python-version 3.11 --fork-strategy fewest --generate-hashes --no-header \
		--no-annotate --override envs/overrides.txt --constraint envs/gpu.lock envs/requirements.in \
		--output-file envs/requirements.lock \
		$$(grep -oE '^(cupy|cuda|nvidia)[a-z0-9-]*' envs/gpu.lock | sed 's/^/--no-emit-package /')

clean:
	rm -rf .venv .training .snakemake resources results logs benchmarks docs/_build
