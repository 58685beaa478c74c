# make demo | make demo-compare | make test | make check | make bench | make bench-gpu: each installs what it needs into
# .venv first.
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
RUN    ?= runs/demo

.PHONY: setup demo demo-compare test check format bench bench-gpu reproduce reliability golden clean

setup: $(VENV)/.installed

$(VENV)/.installed: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit("minibert needs Python 3.11 or newer, this is " + sys.version.split()[0] + "; set PYTHON=python3.11") if sys.version_info < (3, 11) else None'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --disable-pip-version-check -q -c constraints.txt -e '.[plots,test,dev]'
	@touch $@

demo: setup
	$(BIN)/python -m train.squad --demo --output-dir $(RUN) --overwrite

demo-compare: setup
	$(BIN)/python -m benchmarks.pretraining --demo

test: setup
	$(BIN)/python -m pytest -n auto --dist loadfile --no-loadscope-reorder

check: setup
	$(BIN)/python -m ruff format --check .
	$(BIN)/python -m ruff check .
	$(BIN)/python -m mypy

format: setup
	$(BIN)/python -m ruff format .
	$(BIN)/python -m ruff check --fix .

bench: setup
	$(BIN)/python -m pip install --disable-pip-version-check -q -c constraints.txt -e '.[bench]'
	$(BIN)/python -m benchmarks

bench-gpu: setup
	$(BIN)/python -m benchmarks.gpu

reproduce: setup
	$(BIN)/python -m train.reproduce $(RECIPE)

reliability: setup
	$(BIN)/python -m tests.reliability

golden: setup
	$(BIN)/python -m tests.golden.make_golden

clean:
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .ruff_cache .mypy_cache
