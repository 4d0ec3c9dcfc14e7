# `make demo` and `make test` need Python and make, nothing else: each makes .venv and installs what it uses.
# Another interpreter: make test PYTHON=python3.13. Options for pytest: make test ARGS="-k layers -x".

PYTHON ?= python3
VENV ?= .venv
ARGS ?=
BIN := $(VENV)/bin

.PHONY: demo test conformance lint bench bench-first-result bench-overhead clean

demo: $(VENV)/installed-examples
	$(BIN)/python examples/hillshade.py $(ARGS)

test: $(VENV)/installed-test
	$(BIN)/python -m pytest $(ARGS)

# The official suite, 1388 tests: make conformance ARGS="--examples 200 --compile always".
conformance: $(VENV)/installed-conformance
	$(BIN)/python conformance/run.py $(ARGS)

# mypy cannot follow setuptools' package-dir, so it is shown the installed layout by links.
TYPED := build/typed
lint: $(VENV)/installed-dev $(VENV)/installed-examples
	$(BIN)/ruff check .
	rm -rf $(TYPED) && mkdir -p $(TYPED)/toonygrad
	ln -s $(CURDIR)/toonygrad/* $(TYPED)/toonygrad/
	ln -s $(CURDIR)/array_api $(TYPED)/toonygrad/array_api
	$(BIN)/mypy $(TYPED)/toonygrad
	MYPYPATH=$(TYPED) $(BIN)/mypy --allow-untyped-defs --allow-incomplete-defs examples benchmarks
	MYPYPATH=$(TYPED) $(BIN)/mypy conformance

# Every row with every peer: make bench ARGS="--only 'chain*' --plot rows.png".
bench: $(VENV)/installed-bench
	$(BIN)/python benchmarks/run.py $(ARGS)

bench-first-result: $(VENV)/installed-bench
	$(BIN)/python benchmarks/first_result.py $(ARGS)

bench-overhead: $(VENV)/installed-bench
	$(BIN)/python benchmarks/overhead.py $(ARGS)

clean:
	rm -rf $(VENV) build *.egg-info

# One mark for each extra; editing pyproject.toml installs anew.
$(VENV)/installed-%: pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet --editable ".[$*]"
	touch $@

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)
