# make run     the site on this machine          make run PORT=8001 HOST=0.0.0.0
# make test    lint, all tests on SQLite, those that touch the database on PostgreSQL, make prove
#                                                make test PYTEST_ARGS="-k ledger" WORKERS=2
# make check   lint only
#
# make prove   the programs that try to break the promises, all of them, small
# make chaos   real processes killed under every fault at once          make chaos N=10000
# make simulate  the whole life with crashes between any two steps      make simulate SEEDS=10000
# make storm   the ledger's books under killed processes                make storm SECONDS=60
# make limits  no window of ten seconds holds more than KIE takes       make limits SECONDS=60
# make recovery  after a SIGKILL, and after Redis was away              make recovery OUTAGE=120
# make hostile pictures and links that mean harm                        make hostile ALL=1
# make bench   how soon pictures are known and kept, with 500 in flight make bench N=500
# make bench-live  how soon open boards show what was stored           make bench-live N=1000
# make bench-board  how soon the board of a long film is painted        make bench-board N=1000
#
# make clean   removes what these made, except var/ (the data of make run)

PORT ?= 8000
HOST ?= 127.0.0.1
PYTHON ?= python3
PYTEST_ARGS ?=
WORKERS ?= $(shell echo $$(($$(getconf _NPROCESSORS_ONLN) + 1)))# many tests wait
N ?= 300
SEEDS ?= 10000
SECONDS ?= 60
OUTAGE ?= 120
ALL ?=

VENV := .venv
BIN := $(VENV)/bin
OURS := projects credits generation imagegen
TRANSLATIONS := $(patsubst %.po,%.mo,$(wildcard locale/*/LC_MESSAGES/*.po))
# Each worker has a site, a queue and a database of its own; one that is done takes over from another.
PYTEST := $(BIN)/python -m pytest -n $(WORKERS) --maxprocesses 4 --dist worksteal
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet

# What Django's settings must have where nothing is served.
NO_SITE := SECRET_KEY=only-for-checks VAR_DIR=$(or $(TMPDIR),/tmp)/imagegen-check DATABASE_URL=sqlite://:memory:

# The longest first, so that none is left to run alone at the end.
PROOFS := chaos hostile recovery bench bench-live limits storm simulate bench-board
PROVE := $(BIN)/python -m tests.proofs

.PHONY: run test test-sqlite test-postgres check prove $(PROOFS) $(addprefix small-,$(PROOFS)) tools clean
.DELETE_ON_ERROR:

run: $(VENV)/run.stamp $(TRANSLATIONS)
	@exec $(BIN)/python -m imagegen.run --host $(HOST) --port $(PORT)

# All, or the tests that PYTEST_ARGS chooses.
test: check test-sqlite test-postgres
	@$(if $(PYTEST_ARGS),,$(MAKE) --no-print-directory prove)

test-sqlite: $(VENV)/dev.stamp $(TRANSLATIONS) tools
	$(PYTEST) $(PYTEST_ARGS)

# pytest ends with 5 where none of the chosen tests touches the database.
test-postgres: $(VENV)/dev.stamp $(TRANSLATIONS) tools test-sqlite
	$(BIN)/python -m tests.with_postgres $(PYTEST) $(PYTEST_ARGS) || [ $$? = 5 ]

check: $(VENV)/dev.stamp
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(NO_SITE) $(BIN)/mypy $(OURS)
	$(NO_SITE) $(BIN)/lint-imports
	$(NO_SITE) $(BIN)/python manage.py makemigrations --check --dry-run
	$(NO_SITE) $(BIN)/python manage.py check --fail-level ERROR

$(PROOFS): $(VENV)/dev.stamp tools

chaos:
	$(PROVE).chaos --generations $(N)
simulate:
	$(PROVE).simulate $(if $(SEED),--seed $(SEED),--seeds $(SEEDS))
storm:
	$(PROVE).storm --seconds $(SECONDS) --at-least 400
limits:
	$(PROVE).limits --seconds $(SECONDS)
recovery:
	$(PROVE).recovery --outage $(OUTAGE)
hostile:
	$(PROVE).hostile $(if $(ALL),--all)
bench: N = 500
bench:
	$(PROVE).bench --orders $(N)
bench-live: N = 1000
bench-live:
	$(PROVE).live --boards $(N)
bench-board: N = 1000
bench-board:
	$(PROVE).board --scenes $(N)

# Four at a time: most of them wait more than they work.
prove: $(VENV)/dev.stamp tools
	@$(MAKE) --jobs=4 --output-sync=target --no-print-directory $(addprefix small-,$(PROOFS))

small-chaos: ; $(PROVE).chaos --generations 40 --busy
small-simulate: ; $(PROVE).simulate --seeds 120
small-storm: ; $(PROVE).storm --seconds 6
small-limits: ; $(PROVE).limits --seconds 20 --busy
small-recovery: ; $(PROVE).recovery --outage 10 --busy
small-hostile: ; $(PROVE).hostile
small-bench: ; $(PROVE).bench --orders 12 --seconds 5 --batch 3 --busy
small-bench-live: ; $(PROVE).live --boards 30 --seconds 5 --means stream --busy
small-bench-board: ; $(PROVE).board --scenes 120 --visits 1 --busy

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
