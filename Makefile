# make run: the demo.  make test: what CI runs.  make help: the rest.
VENV := .venv
BIN  := $(VENV)/bin
CODE  = $(wildcard agent board tools tests bench)
# The tests start an interpreter some hundred times: each would compile all that it imports anew.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help setup debian rigs run test test-long test-image image mutation lint bench screenshots sheets constraints clean
.DEFAULT_GOAL := help

help:           ## this list
	@sed -n 's/^\([a-z-]*\): *[^#]*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 14

setup: debian $(VENV)/.stamp  ## Debian packages and the virtual environment; says what it installs
debian:
	@tools/setup.sh --debian
$(VENV)/.stamp: tools/setup.sh tools/constraints.txt tools/wasm/package-lock.json pyproject.toml | debian
	@tools/setup.sh $(VENV)

run: setup      ## the demo: broker, reference cloud, one station with two ports, a story, a workbench
	@$(BIN)/station-agent demo

lint: setup     ## ruff, mypy --strict, the borders
	@$(BIN)/ruff check --quiet --output-format concise .
	@$(BIN)/mypy --no-error-summary $(CODE)
	@out=$$($(BIN)/lint-imports --no-logo) || { echo "$$out"; exit 1; }

test: lint      ## lint, then every test but the long ones; the same result every time
	@$(BIN)/pytest -q -m "not long" -n 3 --dist loadfile

test-long: rigs lint  ## all tests, with long seeds, sweeps and rigs; a missing Debian package fails, by name
	@STATION_LONG=1 $(BIN)/pytest -q -n 3 --dist worksteal --timeout 7200

rigs:
	@tools/setup.sh --rigs

image: rigs setup  ## the station's image for QEMU's arm64 machine: build/image (docs/image.md); OPTIONS="--help"
	@$(BIN)/python -m board.image.make $(OPTIONS)

test-image: image  ## boot it, charge with it, flash it, pull its plug, see a bad build roll back; prints what it took
	@STATION_LONG=1 STATION_IMAGE=1 $(BIN)/pytest -q tests/test_image.py --timeout 2400

mutation: setup ## break the durable code in each way that matters; the tests must notice, or this fails
	@$(BIN)/python -m tests.mutation

bench: setup    ## measure; writes bench/results.json
	@$(BIN)/python -m bench

screenshots: setup ## the pictures of docs/panel.md, from the station's own page
	@$(BIN)/python -m tests.ui.screenshots

sheets: setup   ## every screen on every display in every language, many on one picture: build/sheets, to be looked at
	@$(BIN)/python -m tests.ui.screenshots --sheets build/sheets

constraints:    ## resolve the dependencies anew and write tools/constraints.txt
	@tools/setup.sh --resolve $(VENV).new
	@rm -rf $(VENV).new

clean:          ## remove what the other targets made, except Debian packages
	@rm -rf $(VENV) $(VENV).new .mypy_cache .ruff_cache .import_linter_cache .hypothesis .pytest_cache dist build
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +
