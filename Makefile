# make run     the site on this machine          make run PORT=8001 HOST=0.0.0.0
# make test    lint, then all tests on SQLite, then all on PostgreSQL
#                                                make test PYTEST_ARGS="-k ledger"
# make check   lint only
# make clean   removes what these made, except var/ (the data of make run)

PORT ?= 8000
HOST ?= 127.0.0.1
PYTHON ?= python3
PYTEST_ARGS ?=

VENV := .venv
BIN := $(VENV)/bin
OURS := projects credits generation imagegen
TRANSLATIONS := $(patsubst %.po,%.mo,$(wildcard locale/*/LC_MESSAGES/*.po))
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet

# What Django's settings must have where nothing is served.
NO_SITE := SECRET_KEY=only-for-checks VAR_DIR=$(or $(TMPDIR),/tmp)/imagegen-check DATABASE_URL=sqlite://:memory:

.PHONY: run test test-sqlite test-postgres check tools clean
.DELETE_ON_ERROR:

run: $(VENV)/run.stamp $(TRANSLATIONS)
	@exec $(BIN)/python -m imagegen.run --host $(HOST) --port $(PORT)

test: check test-sqlite test-postgres

test-sqlite: $(VENV)/dev.stamp $(TRANSLATIONS) tools
	$(BIN)/python -m pytest $(PYTEST_ARGS)

test-postgres: $(VENV)/dev.stamp $(TRANSLATIONS) tools test-sqlite
	$(BIN)/python -m tests.with_postgres $(BIN)/python -m pytest $(PYTEST_ARGS)

check: $(VENV)/dev.stamp
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(NO_SITE) $(BIN)/mypy $(OURS)
	$(NO_SITE) $(BIN)/lint-imports
	$(NO_SITE) $(BIN)/python manage.py makemigrations --check --dry-run
	$(NO_SITE) $(BIN)/python manage.py check --fail-level ERROR

# What the tests need beside Python: a browser, PostgreSQL's server programs, msgfmt.
tools:
	@sh tests/tools.sh

$(VENV)/run.stamp: requirements.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "imagegen needs Python 3.11 or newer; $(PYTHON) is $$($(PYTHON) -V 2>&1)." \
	         "Another one: make PYTHON=python3.12"; exit 1; }
	@$(PYTHON) -c 'import venv, ensurepip' 2>/dev/null || \
	  { echo "Python cannot make virtual environments here. As root: apt-get install python3-venv"; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "Installing what imagegen needs into $(VENV) ..."
	@$(PIP) install -r requirements.txt
	@touch $@

$(VENV)/dev.stamp: requirements-dev.txt $(VENV)/run.stamp
	@$(PIP) install -r requirements-dev.txt
	@touch $@

%.mo: %.po $(VENV)/run.stamp
	@$(BIN)/pybabel --quiet compile --input-file $< --output-file $@

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache $(TRANSLATIONS)
	find $(OURS) tests -name __pycache__ -type d -prune -exec rm -rf {} +
