# Two commands for people: `make demo` and `make test`. Both make .venv first, pinned by constraints.txt.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
# A build of torch of your own choice, e.g. TORCH="torch==2.13.0 --index-url <the CPU page of pytorch.org>"
TORCH ?= torch
EXTRAS := train,ort,openvino,coreml,timm,logs,fleet,kits,pack,docs,dev
# One thread a process: torch with two threads on a busy two-core machine stalls several times over.
export OMP_NUM_THREADS ?= 1

.PHONY: demo test lint docs tables clean
demo: $(READY)
	$(BIN)/edgesmith run recipes/quickstart.yaml

# One process a core, each a file at a time.
test: $(READY)
	STRICT=$(STRICT) $(BIN)/python -m pytest -n auto --dist loadfile $(PYTEST)

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# The pages that are generated from the code, and the site in site/; a dead link is an error.
docs: $(READY)
	$(BIN)/python docs/recipe_reference.py
	$(BIN)/python docs/cli_reference.py
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

# The pages that say what was seen to work on this machine; minutes.
tables: $(READY)
	$(BIN)/python docs/compatibility.py
	$(BIN)/python docs/coreml_ops.py
	$(BIN)/python docs/dialects.py

# torch first: nothing that follows may pull another build of it.
$(READY): constraints.txt pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "edgesmith needs Python 3.11+; try: make PYTHON=python3.11")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt $(TORCH)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[$(EXTRAS)]'
	touch $(READY)

clean:
	rm -rf $(VENV) runs build site
