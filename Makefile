# Every target sets the environment up by itself. VENV=… takes another folder for it, STUDY=… another study.
# FAULTS=… says how many faults `make soak` injects, such as FAULTS="--kills 2 --flips 100".
VENV ?= .venv
PYTHON ?= python3.11
STUDY ?= demo
CORES ?= 2
RUNS ?= 2000
FAULTS ?=
HOURS ?= 3
CLUSTERS := slurm-wlm munge rsync
BROWSER := chromium

BIN := $(abspath $(VENV))/bin
READY := $(VENV)/.qkld-ready

export PATH := $(BIN):$(PATH)
export JUPYTER_PREFER_ENV_PATH := 1

.PHONY: help reproduce test test-all unit clusters slurm-test soak gpu browser browser-test lab plan bench evening published environment data docs architectures llamacpp sandbox calibrate clean

reproduce: data $(if $(findstring gguf,$(STUDY)),llamacpp)  ## run the whole study: tables, executed notebooks, figures, report
	$(BIN)/qkld run $(STUDY) --cores $(CORES)

# One worker more than cores: tests of clusters and of killed runs wait for most of their time.
test test-all: STUDY := demo
test test-all: WORKERS := $(shell expr $(CORES) + 1)
test: data llamacpp  ## tests, including the smoke study: a quarter of an hour on two cores after set-up
	$(BIN)/pytest -n $(WORKERS) --budget -m "not cluster_study and not jupyterlab and not long and not soak"

test-all: data llamacpp  ## `make test` and the long tests: killed runs, a one-node cluster, kept studies; what CI runs
	$(BIN)/pytest -n $(WORKERS) --budget -m "not cluster_study and not jupyterlab"

unit: environment  ## tests that need no model, network or notebook
	$(BIN)/pytest -n $(CORES) -m "not model and not notebook and not pipeline and not network and not kernel and not sandbox"

slurm-test: data clusters  ## run a study on a one-node SLURM cluster, started for the test; needs root on Debian
	$(BIN)/pytest -m "slurm or cluster_study"

soak: STUDY := smoke
soak: data  ## fault injection: kills, changed bytes, full disks, studies started twice → figures/soak; an hour on two cores
	$(BIN)/python -m validation.soak --cores $(CORES) $(FAULTS)

gpu: data  ## checks on a CUDA GPU, in six minutes: tests, kernel, speed and a small study → figures/gpu
	$(BIN)/python -m validation.gpu

browser-test: data browser  ## tests of JupyterLab and the interactive plot in Chromium; screenshots → build/screenshots
	$(BIN)/pytest -m "browser or jupyterlab"

clusters:  ## install Debian packages for the cluster tests, if missing and permitted
	$(call installed,$(CLUSTERS))

browser:  ## install Chromium for the browser tests, if missing and permitted
	$(call installed,$(BROWSER))

define installed
	@dpkg --status $(1) >/dev/null 2>&1 || { [ "$$(id -u)" = 0 ] && apt-get update --quiet=2 && \
	  DEBIAN_FRONTEND=noninteractive apt-get install --yes --quiet=2 --no-install-recommends $(1); } || \
	  echo "$(1): not installed here; what needs it is skipped"
endef

# One thread a kernel, as a job of `make reproduce` has: sums are added in the same order, so a notebook run by hand gives
# the same tables to the last bit.
lab: export OMP_NUM_THREADS := 1
lab: data  ## open the notebooks in JupyterLab
	$(BIN)/jupyter lab --LabApp.default_url=/lab/tree/notebooks

plan: environment  ## estimate jobs, disk space, memory and time of a study
	$(BIN)/qkld plan $(STUDY) --cores $(CORES)

calibrate: export OMP_NUM_THREADS := 1
calibrate: export OPENBLAS_NUM_THREADS := 1
calibrate: environment  ## simulate the error rates of every statistic, 2,000 cohorts per cell; under an hour on two cores
	$(BIN)/python -m validation.calibration --cores $(CORES) --runs $(RUNS)

evening: export OMP_NUM_THREADS := $(CORES)
evening: export OPENBLAS_NUM_THREADS := $(CORES)
evening: data llamacpp  ## pick among eleven GGUF files, beside their study → figures/evening; HOURS=3, resumed where stopped
	$(BIN)/python -m validation.evening --hours $(HOURS)

# As in a notebook's kernel (qkld.workflow.notebooks.kernel_environment): torch's threads leave the cores to the walk's own.
bench: export GOMP_SPINCOUNT := 10000
bench: STUDY := demo
bench: data  ## measure speed, memory and size against their limits → figures/bench
	$(BIN)/python -m validation.bench --threads $(CORES)

published: environment  ## analyse published tables of quants; runs no model
	$(BIN)/qkld published --out figures/published

docs: environment  ## build the documentation → docs/_build/html; runs the smoke study first if no study was run
	@ls runs/*/notebooks/*.ipynb >/dev/null 2>&1 || $(MAKE) reproduce STUDY=smoke
	$(BIN)/sphinx-build --quiet --fail-on-warning --keep-going -b html docs docs/_build/html

data: environment  ## download model, texts and benchmark items, and check their hashes
	$(BIN)/qkld fetch $(STUDY)

gguf-engines: data llamacpp  ## two studies: GGUF files in torch and in llama.cpp; GGUF files of the unrotated reference
	$(BIN)/qkld run gguf-engines --cores $(CORES)
	$(BIN)/qkld run gguf-unrotated --cores $(CORES)

architectures: environment  ## compare the KLD of every causal language model in transformers with plain transformers → docs
	$(BIN)/python -m validation.architectures --out docs/architectures.md

llamacpp: environment  ## compile llama.cpp (engine and quantizer) for this machine; CMAKE_ARGS=-DGGML_CUDA=on for a GPU
	$(BIN)/python -m tools.build_llama_cpp_python --jobs $(CORES)

sandbox: environment  ## check whether model-written programs can run here in the bubblewrap sandbox
	$(BIN)/python -m qkld.benchmarks.judging.sandbox

environment: $(READY)  ## set up the Python environment in .venv

$(READY): requirements.lock pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check --no-compile --requirement requirements.lock
	$(BIN)/python -W ignore -m compileall -qq -j $(CORES) $(VENV)/lib || true  # as pip does, but on every core
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	$(BIN)/python -m ipykernel install --sys-prefix
	touch $@

help:  ## list these targets
	@awk -F ':.*  ## ' '/^[a-z-]+:.*  ## / {printf "%-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

clean:  ## delete the study's run and the caches; keep figures, downloaded data and the environment
	rm -rf runs/$(STUDY) build dist .pytest_cache .ruff_cache
