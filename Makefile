# Two commands: `make demo` (a real sweep, about 90 s on two cores after installing) and `make test`
# (everything CI runs).
PYTHON ?= python3
BIN = .venv/bin
DEMO_DIR ?= demo

# The browser part of `make test` opens the tutorials and explorers in a headless Chromium, and is
# skipped where there is none. READY= uses the Python at BIN as it is.
READY ?= .venv/dev-ready
.PHONY: demo test lint quick notebooks pytest browser fuzz faults docs readme clean

.venv/pip-ready:
	$(PYTHON) -m venv .venv
	touch $@

.venv/demo-ready: .venv/pip-ready settings.ini setup.py constraints.txt
	$(BIN)/pip install -q --disable-pip-version-check -c constraints.txt -e .
	touch $@

.venv/dev-ready: .venv/pip-ready settings.ini setup.py constraints.txt
	$(BIN)/pip install -q --disable-pip-version-check -c constraints.txt -e ".[dev]"
	touch $@ .venv/demo-ready

demo: .venv/demo-ready
	$(BIN)/flops-fit demo --output-dir $(DEMO_DIR)

test: lint notebooks pytest browser

lint: .venv/dev-ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/python tools/wings.py --check
	$(BIN)/python tools/house.py

# a few minutes: what a pull request waits for
SLOW = browser docs kills fuzz project notebooks example_scripts smalllm tinystories
quick: $(READY)
	$(BIN)/python -m pytest -q -n 2 --dist loadfile tests --ignore=tests/faults \
		$(SLOW:%=--ignore=tests/test_%.py)

notebooks: .venv/dev-ready
	$(BIN)/nbdev_test --n_workers 2 --timing

pytest: .venv/dev-ready
	$(BIN)/python -m pytest -q -n 2 --dist loadfile tests

browser: .venv/dev-ready
	FLOPS_FIT_BROWSER=1 $(BIN)/python -m pytest -q -rs tests/test_browser.py

# 100,000 generated calls of the public functions, about ten minutes on two cores; `make test` makes
# 10,000
fuzz: .venv/dev-ready
	$(BIN)/python tests/fuzzing.py 100000

# Every k-th call to fail, every state after a power cut, 200 signals, every damage: an hour or two
# on two cores; `make test` takes samples.
faults: .venv/dev-ready
	FLOPS_FIT_FAULTS=1 $(BIN)/python -m pytest -q -n 2 tests/faults

docs: .venv/dev-ready
	$(BIN)/python tools/build_docs.py

readme: .venv/dev-ready
	$(BIN)/python tools/make_readme.py

clean:
	rm -rf .venv _docs _proc build demo *.egg-info
