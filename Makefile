# Each target works as the first command on a machine that has Python 3.11 or newer:
# it makes the environment in .venv by itself, and again whenever the requirements change.
#
#   make talk    answer a spoken question        IN=question.wav OUT=answer.wav PNG=answer.png MODEL=...
#   make serve   open the page to talk to        MODEL=...
#   make site    build the page that runs the model itself, in web/site   MODEL=...
#   make test    run the suite                   ARGS="-k codec"
#   make lint    ruff, the direction of imports, pyright
#   make shape   rooms, arrows, circles, sizes and duplicates of the code, in one table

SHELL := /bin/bash
VENV := .venv
BIN := $(VENV)/bin
IN ?= duologue/assets/question.opus
OUT ?= answer.wav
PNG ?= $(basename $(OUT)).png
model = $(if $(MODEL),--model $(MODEL))

.PHONY: talk serve site test lint shape format clean
.DEFAULT_GOAL := help

.PHONY: help
help:
	@sed -n '/^#   make/s/^#   //p' Makefile

talk: $(VENV)/serve,mic,plot.stamp
	$(BIN)/duologue talk $(IN) $(OUT) --stereo --png $(PNG) --play $(model)

serve: $(VENV)/serve,mic,plot.stamp
	$(BIN)/duologue serve $(model)

site: $(VENV)/onnx.stamp
	cd web && npm ci --silent && npm run --silent site
	$(BIN)/duologue convert $(or $(MODEL),nano) web/site/model --format onnx

test: $(VENV)/dev.stamp
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist worksteal $(ARGS)

lint: $(VENV)/dev.stamp
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports --no-cache
	PYRIGHT_PYTHON_IGNORE_WARNINGS=1 $(BIN)/pyright

shape: $(VENV)/dev.stamp
	$(BIN)/python -m benchmarks.house

format: $(VENV)/dev.stamp
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf $(VENV) build dist

# The environment: one stamp for each set of extras installed in it.
newest = $(firstword $(foreach python,$(or $(PYTHON),python3 python3.13 python3.12 python3.11),$(shell \
	$(python) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $(python))))

comma := ,

$(VENV)/%.stamp: pyproject.toml constraints.txt install.py
	@[ -n "$(newest)" ] || { echo "duologue needs Python 3.11 or newer: install it, or name one with PYTHON=..." >&2; exit 2; }
	$(newest) install.py $(subst $(comma), ,$*)
	@touch $@
