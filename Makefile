# Targets for people and for .ci/run. Everything lands in .venv and .typings; `make clean` removes both.

PY := .venv/bin/python
PYTEST_ARGS ?=
BENCH_ARGS ?=
LOSSLESS_ARGS ?=

.DEFAULT_GOAL := help
.PHONY: help setup demo test lint bench golden docs chart image record lock clean
.PHONY: lossless cluster cluster-build cluster-down test-cluster deploy conformance

help: ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' Makefile | expand -t 14

setup: ## install what is missing (again: next to nothing)
	@tools/setup

demo: setup ## start a mesh with a small shop and a little traffic; Ctrl-C ends it
	@$(PY) tools/demo.py

test: setup ## run all tests; PYTEST_ARGS="-k name" to choose
	$(PY) -m pytest -n 2 --dist loadscope $(PYTEST_ARGS)

lint: setup ## ruff, mypy (strict), import-linter
	.venv/bin/ruff check
	.venv/bin/mypy
	.venv/bin/lint-imports

bench: setup ## measure: no mesh, hand-written Envoys, Retic
	$(PY) -m tools.bench $(BENCH_ARGS)

lossless: setup ## count lost requests while a mesh changes, a row of the table in ten minutes
	$(PY) -m tools.lossless $(LOSSLESS_ARGS)

cluster-build: setup ## build what a cluster is made of, and what runs on it, and start nothing
	@$(PY) -m tools.prepare

cluster: setup ## start a Kubernetes cluster of two nodes on this machine; with KUBECONFIG set, use that one
	@$(PY) -m tools.cluster up

cluster-down: setup ## end that cluster; nothing of it stays but its caches
	@$(PY) -m tools.cluster down

test-cluster: cluster ## run the tests that need a cluster; PYTEST_ARGS="-k name" to choose
	$(PY) -m pytest tests/cluster $(PYTEST_ARGS)

deploy: setup ## install Retic of this tree on the cluster
	@$(PY) -m tools.deploy

conformance: cluster ## run the Gateway API's suite on the cluster and write docs/conformance.md
	@$(PY) -m tools.conformance --write

golden: setup ## write the expected outputs of tests anew; look at the diff
	$(PY) tools/golden.py

docs: setup ## write the parts of docs/ that come from code
	$(PY) tools/archdoc.py

chart: setup ## write the Helm chart, charts/retic, from what `retic install` installs
	$(PY) tools/chart.py

image: setup ## build Retic's image as an OCI archive, without Docker; print its path
	@$(PY) -m tools.image

record: setup ## record the README's terminal: real commands against a mesh of the demo
	$(PY) tools/record.py

.typings: tools/stubs.py requirements.lock
	$(PY) tools/stubs.py .typings

lock: ## resolve the dependencies of pyproject.toml anew
	@tools/lock

clean: ## remove what setup and tests made here
	rm -rf .venv .typings .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache build dist
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
