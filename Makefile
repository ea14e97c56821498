# Every command a person needs; CI runs the same ones.
PYTHON ?= python3.11
VENV   ?= .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.installed
PRESET ?= demo

.DEFAULT_GOAL := help
.PHONY: help system training-system install weights demo up down eval test test-one-half test-other-half check protos dashboards dashboards-preview metrics bench-cluster bench-gateway bench-engine bench-waking bench-jobs bench-tracing train

help:  ## what there is
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-9s %s\n", $$1, $$2}'

system:  ## Debian packages that the tests need, as root: a browser, a voice, and what they call
	apt-get update -q
	apt-get install -y -q --no-install-recommends chromium curl espeak-ng g++ openssl prometheus redis-server

training-system: system  ## and the fonts that pictures for training are drawn in, as root
	apt-get install -y -q --no-install-recommends fonts-cabin fonts-cantarell fonts-comfortaa fonts-crosextra-caladea \
	  fonts-crosextra-carlito fonts-freefont-ttf fonts-hack fonts-inconsolata fonts-lato fonts-liberation \
	  fonts-linuxlibertine fonts-open-sans fonts-quicksand fonts-roboto-unhinted

install: $(STAMP)  ## a virtual environment with everything, and the Triton server

$(STAMP): pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet torch==2.13.0
	$(BIN)/pip install --quiet --editable '.[dev]'
	$(BIN)/trichord triton install
	touch $@

weights: install  ## the small real model (about 160 MB to fetch, once)
	$(BIN)/trichord checkpoint pull $(PRESET)

demo: weights  ## start the cluster, ask about text, an image and a sound, stop
	$(BIN)/python examples/demo.py --preset $(PRESET)

up: weights  ## start the cluster and leave it running
	$(BIN)/trichord up --preset $(PRESET)

down:  ## stop it
	$(BIN)/trichord down

eval: weights  ## how often the model is right, through the cluster that runs and in one process (ten minutes)
	$(BIN)/trichord eval --preset $(PRESET)

# What mostly waits runs side by side, in two halves that are always the same; then what takes all cores by itself.
SIDE_BY_SIDE := tests/unit tests/k8s tests/integration/broker tests/integration/redis
ONE_HALF     := tests/unit/gateway tests/unit/local_cluster tests/integration/broker tests/integration/redis

test: weights  ## every test that needs no GPU
	$(MAKE) --jobs=2 --output-sync test-one-half test-other-half
	$(BIN)/pytest $(SIDE_BY_SIDE:%=--ignore=%)

test-one-half:
	$(BIN)/pytest -p no:cacheprovider $(ONE_HALF)

test-other-half:
	$(BIN)/pytest -p no:cacheprovider tests/unit tests/k8s $(ONE_HALF:%=--ignore=%)

check: install  ## format, lint, types, architecture, protos, the page of metrics, dashboards
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	cd protos && ../$(BIN)/buf lint
	BIN=$(BIN) scripts/protos --check
	$(BIN)/python -m scripts.metrics_docs --check
	BIN=$(BIN) scripts/dashboards --check

protos: install  ## regenerate libs/trichord/v1
	BIN=$(BIN) scripts/protos

dashboards: install  ## regenerate the dashboards that the chart ships
	BIN=$(BIN) scripts/dashboards

dashboards-preview: install  ## draw them from a simulated cluster that a real Prometheus scrapes (four minutes)
	$(BIN)/python -m deploy.observability.preview

metrics: install  ## rewrite docs/metrics.md from the definitions
	$(BIN)/python -m scripts.metrics_docs

bench-cluster: weights  ## what a question costs by its kind, through a cluster of its own (a minute)
	$(BIN)/python -m bench.cluster

bench-gateway: install  ## what the gateway adds to a first token, a token, an image seen before (two minutes)
	$(BIN)/python -m bench.gateway

bench-waking: install  ## vision from no replica to three and back, and what text notices of it (two minutes)
	$(BIN)/python -m bench.waking

bench-jobs: install  ## a job of 1 000 items, its worker killed twice, and what live text notices of it (five minutes)
	$(BIN)/python -m bench.jobs

bench-tracing: weights  ## what tracing costs in tokens a second, and a collector that hangs (five minutes)
	$(BIN)/python -m bench.tracing

bench-engine: weights  ## the decode engine against its limit and its peers (twenty minutes, on a quiet machine)
	$(BIN)/python -m bench.engine

RECIPES ?= training/configs
PHASES  ?= see hear settle-pictures settle-sounds tune tune-hold
RUNS    ?= runs

train: install  ## teach the default model anew, phase by phase, or go on with it (two hours; docs/training.md)
	$(BIN)/trichord checkpoint pull smol
	before=; for phase in $(PHASES); do \
	  $(BIN)/python -m trichord_training $(RECIPES)/$$phase.yaml --directory $(RUNS)/$$phase --clips $(RUNS)/clips $$before \
	    || exit 1; \
	  before="$$before --begin-with $(RUNS)/$$phase"; \
	done
	$(BIN)/python -m trichord_training.curves $(PHASES:%=$(RUNS)/%) --out $(RUNS)/curves.png
