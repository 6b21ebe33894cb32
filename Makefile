# The two commands of the README. Each does its own set-up on a fresh machine.
PYTHON ?= python3
# Another interpreter has an environment of its own: .venv-python3.13.
VENV := .venv$(patsubst %,-%,$(filter-out python python3,$(notdir $(PYTHON))))
BIN := $(VENV)/bin
# A virtual screen with OpenGL; only Linux has one, elsewhere windows open on the real screen.
SCREEN := $(if $(filter Linux,$(shell uname)),xvfb-run -a -s "-screen 0 1600x1000x24")
SCHEMA = $(BIN)/check-jsonschema --quiet --builtin-schema

.PHONY: demo test check core
demo: $(VENV)/installed
	@if [ -n "$$DISPLAY$$WAYLAND_DISPLAY" ] || [ -z '$(SCREEN)' ]; \
	then $(BIN)/python scripts/demo.py; \
	else $(SCREEN) $(BIN)/python scripts/demo.py --close; fi

test: check
	$(SCREEN) $(BIN)/pytest -n 2 --cov --cov-report=
	@echo "Coverage: $$($(BIN)/coverage report --format=total) %"

# The quick tests that need no window.
core: $(VENV)/installed
	$(BIN)/pytest -n 2 -m "not slow" --ignore=src/napari_nucleus/widgets --ignore=tests/widgets

check: $(VENV)/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/numpydoc lint $$(find src -name '*.py')
	$(SCHEMA) vendor.github-workflows .github/workflows/*.yml
	$(SCHEMA) custom.github-workflows-require-timeout .github/workflows/*.yml
	$(SCHEMA) vendor.github-issue-forms .github/ISSUE_TEMPLATE/bug.yml .github/ISSUE_TEMPLATE/feature.yml
	$(SCHEMA) vendor.github-issue-config .github/ISSUE_TEMPLATE/config.yml
	$(SCHEMA) vendor.citation-file-format CITATION.cff

# An editable install copies napari.yaml, so a changed manifest needs a new one, too.
$(VENV)/installed: pyproject.toml napari.yaml scripts/system_libraries.py
	$(PYTHON) scripts/system_libraries.py
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install -q -e '.[dev,qt]'
	touch $@
