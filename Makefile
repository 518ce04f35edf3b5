# Two commands do everything on a fresh machine with Python 3.11 or newer and make:
#   make demo   quantize a real ViT-S with real photographs and print the table
#   make test   the linter, the type checker and the tests
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin

.PHONY: test demo lint format bench download exporter property fuzz clean

test: lint
	$(BIN)/python -m pytest -n 2 -q

lint: $(VENV)/ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

demo: $(VENV)/ready
	$(BIN)/python -m examples.demo

format: $(VENV)/ready
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(VENV)/ready
	$(BIN)/python -m benchmarks.accuracy
	$(BIN)/python -m benchmarks.latency

download: $(VENV)/ready
	$(BIN)/python -m pytest -q -m download

property: $(VENV)/ready
	$(BIN)/python -m pytest -n 2 -q -m property

fuzz: $(VENV)/ready
	$(BIN)/python -m pytest -q -m fuzz

exporter: $(VENV)/ready
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable ".[dev,exporter]"
	$(BIN)/python -m pytest -q -m exporter

$(VENV)/ready: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable ".[dev]"
	touch $@

clean:
	rm -rf $(VENV) build dist *.egg-info
