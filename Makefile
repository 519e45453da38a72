# Two commands matter: `make demo` and `make test`. Both set up .venv from the project's own files.
PYTHON ?= python3
ifeq ($(OS),Windows_NT)
BIN := .venv/Scripts
else
BIN := .venv/bin
endif
SEEDS ?= 0 1 2 3 4

.PHONY: demo test check lint types suite bench soak lock docs site clean

demo: .venv/ready  ## the main job on real data, offline, in under a minute
	$(BIN)/bunryu demo
	@echo "to type bunryu yourself: . $(BIN)/activate"

test: .venv/ready-dev check suite  ## everything that CI runs

check: lint types  ## style and types

lint: .venv/ready-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: .venv/ready-dev
	$(BIN)/mypy

suite: .venv/ready-dev
	$(BIN)/pytest -n 2 --dist worksteal  # neighbours stay together, and so do fixtures that train

bench: .venv/ready-dev  ## measured figures: needs ../shared
	$(BIN)/python benchmarks/results.py --seeds $(SEEDS)
	$(BIN)/python benchmarks/decode.py
	$(BIN)/python benchmarks/checking.py
	$(BIN)/python benchmarks/speed.py
	$(BIN)/python benchmarks/minutes.py
	$(BIN)/python benchmarks/small_data.py
	$(BIN)/python benchmarks/false_alarms.py

soak: .venv/ready-dev  ## long fault tests: a hundred kills at random
	$(BIN)/python tests/soak/kill_at_random.py --count 100

docs: .venv/ready-dev  ## regenerate docs/settings.md
	$(BIN)/python docs/generate.py

site: .venv/ready-docs  ## the documentation as a site, in site/, its links checked
	$(BIN)/mkdocs build --strict

lock:  ## pin what was tested; no host names
	uv pip compile pyproject.toml --extra dev --extra docs --no-header --no-annotate --no-emit-index-url --universal --python-version 3.11 -o requirements.lock

.venv/ready: pyproject.toml requirements.lock
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install -q --disable-pip-version-check -c requirements.lock -e .
	$(BIN)/python -c "open('.venv/ready', 'w').close()"

.venv/ready-dev: .venv/ready
	$(BIN)/python -m pip install -q --disable-pip-version-check -c requirements.lock -e ".[dev]"
	$(BIN)/python -c "open('.venv/ready-dev', 'w').close()"

.venv/ready-docs: .venv/ready
	$(BIN)/python -m pip install -q --disable-pip-version-check -c requirements.lock -e ".[docs]"
	$(BIN)/python -c "open('.venv/ready-docs', 'w').close()"

clean:
	$(PYTHON) -c "import shutil; [shutil.rmtree(p, True) for p in ('.venv', 'site', '.mypy_cache', '.ruff_cache', '.pytest_cache')]"
