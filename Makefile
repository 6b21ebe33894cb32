# The two commands of the README. Each does its own set-up on a fresh machine.
PYTHON ?= python3
BIN := .venv/bin
# A virtual screen with OpenGL; only Linux has one, elsewhere windows open on the real screen.
SCREEN := $(if $(filter Linux,$(shell uname)),xvfb-run -a -s "-screen 0 1600x1000x24")

.PHONY: demo test
demo: .venv/installed
	@if [ -n "$$DISPLAY$$WAYLAND_DISPLAY" ] || [ -z '$(SCREEN)' ]; \
	then $(BIN)/python scripts/demo.py; \
	else $(SCREEN) $(BIN)/python scripts/demo.py --close; fi

test: .venv/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(SCREEN) $(BIN)/pytest

# An editable install copies napari.yaml, so a changed manifest needs a new one, too.
.venv/installed: pyproject.toml napari.yaml scripts/system_libraries.py
	$(PYTHON) scripts/system_libraries.py
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install -q -e '.[dev,qt]'
	touch $@
