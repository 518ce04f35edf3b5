# Two commands do everything on a fresh machine with Python 3.11 or newer and make:
#   make demo   quantize a real ViT-S with real photographs and print the table
#   make test   the linter, the type checker, the documentation, and the tests with the newest and the lowest versions
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin

LOWEST := .venv-lowest
ENGINE := .venv-engines

.PHONY: test newest lowest engines demo docs lint format bench download exporter property fuzz trt clean

test: lint docs newest lowest

newest: $(VENV)/ready
	$(BIN)/python -m pytest -n 2 -q

# Examples drawn at random find wrong rewrites, which do not depend on versions: a few are enough here, no slow ones.
lowest: $(LOWEST)/ready
	REQUANT_PROPERTY_EXAMPLES=3 $(LOWEST)/bin/python -m pytest -n 2 -q \
		-m "not slow and not (download or exporter or gpu or property or fuzz or trt)"

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

docs: $(VENV)/ready
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable ".[docs]"
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

download: $(VENV)/ready
	$(BIN)/python -m pytest -q -m download

property: $(VENV)/ready
	$(BIN)/python -m pytest -n 2 -q -m property

fuzz: $(VENV)/ready
	$(BIN)/python -m pytest -q -m fuzz

trt: $(VENV)/ready
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable ".[dev,tensorrt-rtx]"
	$(BIN)/python -m pytest -q -m "trt or not trt" tests/runtime/trt tests/runtime/test_tally.py tests/test_check_build.py

exporter: $(VENV)/ready
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable ".[dev,exporter]"
	$(BIN)/python -m pytest -q -m exporter

$(VENV)/ready: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable ".[dev]"
	touch $@

# The oldest version of each dependency that pyproject.toml allows.
$(LOWEST)/ready: pyproject.toml
	$(PYTHON) -m venv $(LOWEST)
	$(LOWEST)/bin/python -m pip install --quiet --disable-pip-version-check uv
	$(LOWEST)/bin/uv pip install --quiet --python $(LOWEST) --resolution lowest-direct --editable ".[dev]"
	touch $@

# Where the newest ONNX Runtime, pre-releases included, does something else than the rules of `requant check` say.
engines:
	$(PYTHON) -m venv --clear $(ENGINE)
	$(ENGINE)/bin/python -m pip install --quiet --disable-pip-version-check --editable ".[cpu]"
	$(ENGINE)/bin/python -m pip install --quiet --disable-pip-version-check --upgrade --pre onnxruntime
	$(ENGINE)/bin/python -m tests.runtime.engine_facts

clean:
	rm -rf $(VENV) $(LOWEST) $(ENGINE) build dist site *.egg-info
