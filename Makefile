# On a fresh machine: `make demo` installs, and reads and segments the examples; `make check test` is what CI runs.
PYTHON ?= python3
BIN := .venv/bin
INPUTS := pyproject.toml constraints.txt

.PHONY: demo test test-slow test-browser pictures parity check format clean

demo: .venv/.installed
	$(BIN)/folioscope read examples -o out --force
	$(BIN)/folioscope segment examples/photos/coffee.jpg --object 300,30 --object 325,225,410,328 -o out --force
	@cat out/*.md

test: .venv/.installed-dev
	$(BIN)/python -m pytest

test-slow: .venv/.installed-dev
	$(BIN)/python -m pytest -m slow

parity: .venv/.installed-dev
	$(BIN)/python -m pip install -c constraints.txt -e '.[parity]'
	$(BIN)/python -m pip install --no-deps olmocr==0.4.27 && $(BIN)/python -m pip install beautifulsoup4 tqdm
	$(BIN)/python -m pytest tests/parity
	$(BIN)/python -m pip install --no-deps --target .venv/transformers4 transformers==4.57.1 \
		huggingface-hub==0.36.0 tokenizers==0.22.1
	PYTHONPATH=.venv/transformers4 $(BIN)/python -m pytest tests/parity/test_transformers_4.py

# Needs Debian's Chromium, and npm for what the page's own decoder runs on; without them tests skip and say so.
test-browser: .venv/.installed-dev .venv/onnxruntime-web
	$(BIN)/python -m pytest -m browser tests/browser

# Screenshots for the README, taken by the browser tests.
pictures: .venv/.installed-dev .venv/onnxruntime-web
	FOLIOSCOPE_PICTURES=1 $(BIN)/python -m pytest -m browser tests/browser

check: .venv/.installed-dev
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/pyright

format: .venv/.installed-dev
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

clean:
	rm -rf .venv out

# Stamps: pip runs again only when what it installs has changed.
.venv/bin/python:
	$(PYTHON) -m venv .venv

.venv/.installed: $(INPUTS) | .venv/bin/python
	$(BIN)/python -m pip install -c constraints.txt -e .
	@touch $@

.venv/onnxruntime-web: | .venv/bin/python
	npm install --silent --no-audit --no-fund --prefix $@ onnxruntime-web@1.30.0 || \
		echo "onnxruntime-web cannot be installed here" >&2

.venv/.installed-dev: $(INPUTS) | .venv/bin/python
	$(BIN)/python -m pip install -c constraints.txt -e '.[dev]'
	@touch $@ .venv/.installed
