# Each target sets up what it needs: only python3 (3.11 or newer, with venv and pip) must be there. The one that the system
# came with goes first, if it will do: it is built with profile-guided optimisation, and one that was built here often is not,
# which costs a quarter of its speed. `make PYTHON=python3.13 test` takes another.
PYTHON ?= $(or $(shell /usr/bin/python3 -c 'import ensurepip, sys, venv; sys.exit(sys.version_info < (3, 11))' 2>/dev/null \
	&& echo /usr/bin/python3),python3)
BIN := .venv/bin
READY := .venv/.ready
# One more than the two cores that it is meant for: a quarter of the time real processes are waited for.
JOBS ?= 3
# Further Pythons, on which the same seed must give the same run.
PYTHONS ?= $(sort $(wildcard $(addsuffix /python3.1[1-9],/usr/bin /usr/local/bin $(HOME)/.pyenv/versions/*/bin)))

.PHONY: demo test check bench soak pythons clean
.NOTPARALLEL:

$(READY): pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "trio-mesh needs Python 3.11 or newer, this is " + sys.version)'
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	touch $@

demo: $(READY)
	$(BIN)/mesh demo

test: $(READY)
	$(BIN)/python -m pytest -n $(JOBS) --dist worksteal -m 'not soak' tests

check: $(READY)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: $(READY)
	$(BIN)/python -m tests.benchmarks

soak: $(READY)
	$(BIN)/python -m pytest -m soak tests

pythons:
	for python in $(PYTHONS); do \
		place=.venv-$$(basename $$python); \
		test -x $$place/bin/python || $$python -m venv $$place && \
		$$place/bin/python -m pip install --quiet --disable-pip-version-check --editable . || exit 1; \
	done

clean:
	rm -rf .venv .venv-* .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache build dist
