# Every target sets the environment up by itself. VENV=… takes another folder for it, STUDY=… another study.
VENV ?= .venv
PYTHON ?= python3.11
STUDY ?= demo
CORES ?= 2
RUNS ?= 2000
CLUSTERS := slurm-wlm munge rsync
BROWSER := chromium

BIN := $(abspath $(VENV))/bin
READY := $(VENV)/.qkld-ready

export PATH := $(BIN):$(PATH)
export JUPYTER_PREFER_ENV_PATH := 1

.PHONY: reproduce test unit clusters slurm-test soak gpu browser browser-test lab plan bench published environment data docs architectures llamacpp sandbox calibrate clean

reproduce: data $(if $(findstring gguf,$(STUDY)),llamacpp)  ## the whole study: tables, executed notebooks, figures, report
	$(BIN)/qkld run $(STUDY) --cores $(CORES)

test: STUDY := demo
test: data llamacpp  ## every test, the smoke study and a cluster of one node included, and what each part took
	$(BIN)/pytest -n $(CORES) --budget -m "not cluster_study and not jupyterlab and not soak"

unit: environment  ## the helper package on its own: no model, network or notebook
	$(BIN)/pytest -n $(CORES) -m "not model and not notebook and not pipeline and not network and not kernel and not sandbox"

slurm-test: data clusters  ## a study on a SLURM cluster of one node that this starts and ends, as root on Debian
	$(BIN)/pytest -m "slurm or cluster_study"

soak: STUDY := smoke
soak: data  ## kills, changed bytes, full disks and studies started twice, counted → figures/soak; an hour on two cores
	$(BIN)/python -m validation.soak --cores $(CORES)

gpu: data  ## on a machine with a CUDA card, six minutes: its tests, kernel, speed and a small study → figures/gpu
	$(BIN)/python -m validation.gpu

browser-test: data browser  ## JupyterLab and the interactive plot, in Chromium; pictures → build/screenshots
	$(BIN)/pytest -m "browser or jupyterlab"

clusters:  ## Debian's packages for tests of clusters, where they are not there yet and may be installed
	$(call installed,$(CLUSTERS))

browser:  ## the same for tests in a browser
	$(call installed,$(BROWSER))

define installed
	@dpkg --status $(1) >/dev/null 2>&1 || { [ "$$(id -u)" = 0 ] && apt-get update --quiet=2 && \
	  DEBIAN_FRONTEND=noninteractive apt-get install --yes --quiet=2 --no-install-recommends $(1); } || \
	  echo "$(1): not installed here; what needs it is skipped"
endef

lab: data  ## the notebooks in JupyterLab
	$(BIN)/jupyter lab --LabApp.default_url=/lab/tree/notebooks

plan: environment  ## jobs, bytes, memory and time of a study, before anything runs
	$(BIN)/qkld plan $(STUDY) --cores $(CORES)

calibrate: export OMP_NUM_THREADS := 1
calibrate: export OPENBLAS_NUM_THREADS := 1
calibrate: environment  ## simulated error rates of every statistic, 2,000 cohorts a cell: under an hour on two cores
	$(BIN)/python -m validation.calibration --cores $(CORES) --runs $(RUNS)

# As in a notebook's kernel (qkld.workflow.notebooks.kernel_environment): torch's threads leave the cores to the walk's own.
bench: export GOMP_SPINCOUNT := 10000
bench: STUDY := demo
bench: data  ## speed, memory and size beside their limits and targets, in one run → figures/bench
	$(BIN)/python -m validation.bench --threads $(CORES)

published: environment  ## published figures of real cohorts, without a model
	$(BIN)/qkld published --out figures/published

docs: environment  ## the documentation → docs/_build/html; runs the smoke study first where no study was run
	@ls runs/*/notebooks/*.ipynb >/dev/null 2>&1 || $(MAKE) reproduce STUDY=smoke
	$(BIN)/sphinx-build --quiet --fail-on-warning --keep-going -b html docs docs/_build/html

data: environment  ## demo model, texts and benchmark items, by pinned hash
	$(BIN)/qkld fetch $(STUDY)

gguf-engines: data llamacpp  ## GGUF files in torch beside llama.cpp, and of the reference that is not rotated
	$(BIN)/qkld run gguf-engines --cores $(CORES)
	$(BIN)/qkld run gguf-unrotated --cores $(CORES)

architectures: environment  ## every causal language model that transformers registers, beside plain transformers → docs
	$(BIN)/python -m validation.architectures --out docs/architectures.md

llamacpp: environment  ## llama.cpp as engine and quantizer, compiled once for this machine; CMAKE_ARGS=-DGGML_CUDA=on for a GPU
	$(BIN)/python -m tools.build_llama_cpp_python --jobs $(CORES)

sandbox: environment  ## whether programs that models write can be run here: bubblewrap, held to its limits
	$(BIN)/python -m qkld.benchmarks.judging.sandbox

environment: $(READY)

$(READY): requirements.lock pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check --no-compile --requirement requirements.lock
	$(BIN)/python -W ignore -m compileall -qq -j $(CORES) $(VENV)/lib || true  # as pip does, but on every core
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	$(BIN)/python -m ipykernel install --sys-prefix
	touch $@

clean:  ## the study's run and the caches; figures, fetched data and the environment stay
	rm -rf runs/$(STUDY) build dist .pytest_cache .ruff_cache
