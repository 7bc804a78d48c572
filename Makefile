# Everything a newcomer types. Needs Python 3.11 or later and make; the rest is installed into .venv.
PYTHON ?= python3
VENV   ?= .venv
BIN     = $(VENV)/bin
# uv comes from the package index into the environment itself; nothing on the machine is touched.
UV      = $(BIN)/uv
EXTRAS  = postgres,mysql,s3,azure,gcs,docker,conda

.DEFAULT_GOAL := help
.PHONY: help demo test test-fast lint format bench docs package clean

help:  ## show what can be made
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 14

$(BIN)/mlgate: pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "mlgate needs Python 3.11 or later; try: make PYTHON=python3.11")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check uv
	$(UV) pip install --quiet --compile-bytecode --python $(BIN)/python -e .
	@touch $@

$(VENV)/.dev: $(BIN)/mlgate pyproject.toml
	$(UV) pip install --quiet --compile-bytecode --python $(BIN)/python -e '.[$(EXTRAS)]' --group dev
	@touch $@

demo: $(BIN)/mlgate  ## run examples/iris in its own environment, on the embedded store, and show the run
	$(BIN)/run-project examples/iris -P max_depth=4
	$(BIN)/mlgate runs list --experiment iris_classification

test: $(VENV)/.dev  ## all tests; what this machine cannot run is skipped with the reason
	$(BIN)/python -m pytest $(ARGS)

test-fast: $(VENV)/.dev  ## the tests that take seconds and need nothing
	$(BIN)/python -m pytest -m "not (venv or conda or docker or database or objectstore or mlflow or frameworks or airflow or prefect or browser or slow)" $(ARGS)

lint: $(VENV)/.dev  ## style, types, arrows between packages
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(VENV)/.dev  ## let the formatter have its way
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(VENV)/.dev  ## measure against MLflow, side by side (takes a while)
	for file in benchmarks/[a-z]*.py; do $(BIN)/python $$file $(ARGS) || exit 1; done

docs: $(VENV)/.dev  ## check that the documentation matches the code
	$(BIN)/python -m pytest tests/test_docs.py $(ARGS)

package: $(VENV)/.dev  ## build the wheel and the source distribution into dist/
	$(BIN)/python -m build --installer uv

clean:  ## remove what was made here
	rm -rf $(VENV) .envs dist build .nox .pytest_cache .mypy_cache .ruff_cache .hypothesis
