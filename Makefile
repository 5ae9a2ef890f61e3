# `make report`, `make test` and the others do all the set-up on a fresh machine: a virtual environment, the
# installation, and then the work. They need Python 3.11 or newer.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin

.PHONY: report test lint docs dist clean

report: $(VENV)/.installed
	$(BIN)/mvdeploy bench mobilevit_s --patches 2,2,2 --patches 8,4,2 \
	  --format onnx --format executorch --threads 1

test: $(VENV)/.developed
	$(BIN)/python -m pytest --numprocesses auto --dist worksteal

lint: $(VENV)/.developed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/check-jsonschema --builtin-schema vendor.github-workflows .github/workflows/*.yml
	$(BIN)/check-jsonschema --builtin-schema vendor.github-issue-config .github/ISSUE_TEMPLATE/config.yml
	$(BIN)/check-jsonschema --builtin-schema vendor.github-issue-forms \
	  $(filter-out %/config.yml,$(wildcard .github/ISSUE_TEMPLATE/*.yml))
	$(BIN)/check-jsonschema --builtin-schema vendor.citation-file-format CITATION.cff
	$(BIN)/zizmor --offline --pedantic --quiet .github

# The site, in build/docs: open build/docs/index.html. Every warning is an error.
docs: $(VENV)/.developed
	$(BIN)/python -m sphinx -c docs -b html -d build/doctrees --fail-on-warning --keep-going --quiet . build/docs
	@echo "build/docs/index.html"

# The sdist, the wheel from it, and whether both are as they should be.
dist: $(VENV)/.developed
	rm -rf dist
	$(BIN)/python -m build --no-isolation --outdir dist .
	$(BIN)/twine check --strict dist/*

clean:
	rm -rf $(VENV) build dist

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet --editable .
	touch $@

$(VENV)/.developed: pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet --editable '.[dev]'
	touch $@ $(VENV)/.installed
