# Every command a person needs; CI runs the same ones.
PYTHON ?= python3.11
VENV   ?= .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.installed
PRESET ?= smol

.DEFAULT_GOAL := help
.PHONY: help system install weights demo up down test check protos dashboards dashboards-preview metrics bench-cluster bench-gateway bench-engine bench-waking bench-tracing

help:  ## what there is
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-9s %s\n", $$1, $$2}'

system:  ## Debian packages that the tests need, as root: a browser, and what they call
	apt-get update -q
	apt-get install -y -q --no-install-recommends chromium curl g++ openssl prometheus redis-server

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

test: weights  ## every test that needs no GPU
	$(BIN)/pytest

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

bench-tracing: weights  ## what tracing costs in tokens a second, and a collector that hangs (five minutes)
	$(BIN)/python -m bench.tracing

bench-engine: weights  ## the decode engine against its limit and its peers (twenty minutes, on a quiet machine)
	$(BIN)/python -m bench.engine
