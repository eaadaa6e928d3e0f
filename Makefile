.DEFAULT_GOAL := help
SHELL := /bin/bash
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
MANIFEST := include/manifest.json
# And the folders: a file that was added or removed shows there.
DBT_FILES := $(shell find include/dbt -mindepth 1 -path include/dbt/target -prune -o -path include/dbt/logs -prune -o -name __pycache__ -prune -o -print)

# dbt and Cosmos report usage to a server unless told otherwise.
export DO_NOT_TRACK := 1
export DBT_SEND_ANONYMOUS_USAGE_STATS := false

.PHONY: help venv run up demo pictures reload manifest test test-all faults backfill-check cloud-check image-check server-check soak lint audit format bench lock clean

help: ## Show what make can do
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16

venv: $(VENV)/.installed $(CLOUD:%=$(VENV)/.installed-%) ## Build the Python environment in .venv (CLOUD=azure, gcs or s3: with that cloud's part)

$(VENV)/.installed: requirements.txt pyproject.toml
	@version="$$($(PYTHON) -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null)"; case "$$version" in \
		3.11 | 3.12 | 3.13) ;; \
		*) echo "Error: Python 3.11 to 3.13 is needed, and $(PYTHON) is $${version:-no Python}. Install one, or name it:" \
			"make $(or $(MAKECMDGOALS),run) PYTHON=python3.12" >&2; exit 1 ;; \
	esac
	@echo "Building the Python environment in $(VENV) (a minute or two the first time) ..."
	@$(PYTHON) -m venv $(VENV)
	@bin/install requirements.txt
	@$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

$(VENV)/.installed-%: requirements-%.txt $(VENV)/.installed
	@echo "Adding the packages of $< ..."
	@bin/install $<
	@touch $@

# What was added for a cloud is kept up with the rest.
run up demo reload: $(wildcard $(VENV)/.installed-azure $(VENV)/.installed-gcs $(VENV)/.installed-s3)

manifest: $(MANIFEST) ## Make the dbt manifest that the DAGs are rendered from

# Airflow reads it at any moment: it is put in its place whole, and is not the one that every dbt command writes anew. What
# dbt has parsed is where Cosmos looks for it. dbt's docs are made here too, without a database, for data folders that have none yet.
$(MANIFEST): $(VENV)/.installed $(DBT_FILES)
	@echo "Preparing the dbt project ..."
	@mkdir -p include/dbt/target && made="$$(mktemp -d include/dbt/target/XXXXXX)" && trap 'rm -rf "$$made"' EXIT && \
	dbt() { $(BIN)/dbt --quiet "$$@" --project-dir include/dbt --profiles-dir include/dbt --profile twitch_bi --target prod \
		--target-path "$(CURDIR)/$$made"; } && \
	dbt parse && dbt docs generate --static --empty-catalog --no-compile && \
	mv "$$made"/{partial_parse.msgpack,static_index.html} include/dbt/target/ && mv "$$made/manifest.json" $@

run: $(MANIFEST) ## One whole pipeline run, then what it made (simulated streams where CLIENT_ID is unset)
	@$(BIN)/python -m include.local run

up: $(MANIFEST) ## Airflow with its web UI on loopback, the hourly DAG switched on, until Ctrl-C (PORT=8080)
	@$(BIN)/python -m include.local up

demo: export DATA_DIR = demo/data
demo: export LOCAL_AIRFLOW_HOME = demo/airflow
# Nothing real is asked, read or told.
demo: export CLIENT_ID =
demo: export CLIENT_SECRET =
demo: export RAW_URL =
demo: export REPORTING_URL =
demo: export HEALTHCHECK_URL =
demo: export HEALTHCHECK_RELOAD_URL =
demo: $(MANIFEST) ## Two weeks of simulated history with the web UI on top, in demo/, until Ctrl-C (PORT=8080)
	@$(BIN)/python -m include.local demo

pictures: $(VENV)/.installed-dev $(MANIFEST) ## README's pictures, from a make demo of its own (needs Chromium)
	@$(BIN)/python tests/pictures.py

reload: $(MANIFEST) ## Days made again from raw: START=2025-08-01 END=2025-08-14 (both included), or ALL=1
	@$(BIN)/python -m include.local reload --start '$(START)' --end '$(END)' --all '$(ALL)'

# Else hundreds of processes would each compile the project's Python again.
test test-all: export PYTHONDONTWRITEBYTECODE =

test: $(VENV)/.installed-dev $(MANIFEST) ## What needs neither a running Airflow nor a browser, and one pipeline run through a scheduler
	@$(BIN)/python -m pytest -n 3 -m "not airflow"

test-all: $(VENV)/.installed-dev $(MANIFEST) ## All tests: Airflow, its web UI in a browser, and the documented commands too
	@$(BIN)/python -m pytest

faults: $(VENV)/.installed-dev $(MANIFEST) ## All fault tests, kills at hundreds of points among them, and the page's figures from other data (FAULT_SEED=2 for others)
	@FAULTS=all $(BIN)/python -m pytest tests/faults tests/dbt/test_any_order.py tests/page/test_answers.py --timeout 900

backfill-check: $(VENV)/.installed-dev $(MANIFEST) ## Backfills of a week beside hourly runs, by API, forms and command line, and make reload, in a real Airflow
	@BACKFILLS=1 $(BIN)/python -m pytest -n 2 tests/e2e/test_backfills.py tests/e2e/test_make_reload.py

image-check: $(VENV)/.installed-dev ## The Dockerfile's steps in a clean environment, where its Python is on this machine
	@IMAGE=1 $(BIN)/python -m pytest -n 0 tests/image

server-check: $(VENV)/.installed-dev $(MANIFEST) ## docker-compose.yaml's services, run without Docker: login, runs, reloads, restarts
	@SERVER=1 $(BIN)/python -m pytest -n 0 tests/server

cloud-check: $(VENV)/.installed-dev $(VENV)/.installed-clouds $(MANIFEST) ## Publishing to, and raw in, servers of Azure's, Google's and Amazon's object storage
	@tests/cloud/install $(PYTHON)
	@CLOUDS=1 $(BIN)/python -m pytest tests/cloud tests/powerbi

soak: $(VENV)/.installed-dev $(MANIFEST) ## A week of hourly runs through Airflow, with faults (SOAK_RUNS=168)
	@$(BIN)/python tests/soak/soak.py

lint: $(VENV)/.installed-dev ## All linters, the type checker, and whether each promise has its test
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/python tests/promises.py
	@$(BIN)/mypy
	@$(BIN)/sqlfluff lint include/dbt
	@$(BIN)/yamllint --strict .
	@$(BIN)/hadolint Dockerfile
	@$(BIN)/check-jsonschema --quiet --builtin-schema vendor.compose-spec docker-compose.yaml
	@$(BIN)/check-jsonschema --quiet --builtin-schema vendor.github-workflows .github/workflows/*.yaml
	@$(BIN)/check-jsonschema --quiet --builtin-schema vendor.dependabot .github/dependabot.yml
	@$(BIN)/check-jsonschema --quiet --builtin-schema vendor.github-issue-forms .github/ISSUE_TEMPLATE/*.yaml
	@$(BIN)/zizmor --offline --quiet --no-progress .github

AUDITED := $(wildcard requirements*.txt tests/cloud/*/requirements.txt)

# --strict: fails as well where PyPI tells nothing about a package.
audit: $(VENV)/.installed-dev ## Known vulnerabilities of all pinned packages (asks PyPI)
	@$(BIN)/pip-audit --strict --disable-pip --progress-spinner off $(AUDITED:%=--requirement %)

format: $(VENV)/.installed-dev ## Let ruff format the code; write the table of docs/reliability.md from the tests' markers
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .
	@$(BIN)/python tests/promises.py --write

bench: $(VENV)/.installed-dev $(MANIFEST) ## Measure each cost beside its floor (FULL=1: at full size; ONLY="hourly reload")
	@$(BIN)/python tests/bench $(if $(FULL),--full) $(if $(ONLY),--only $(ONLY))

COMPILE := uv pip compile --universal --generate-hashes --no-emit-index-url --no-strip-extras pyproject.toml

lock: ## Compile the requirements from pyproject.toml (needs uv)
	$(COMPILE) -o requirements.txt
	$(COMPILE) --extra dev -c requirements.txt -o requirements-dev.txt
	$(COMPILE) --extra azure --extra gcs --extra s3 -c requirements.txt -o requirements-clouds.txt
	for cloud in azure gcs s3; do \
		$(COMPILE) --extra $$cloud -c requirements.txt -c requirements-clouds.txt -o requirements-$$cloud.txt || exit 1; \
	done

clean: ## Remove everything that make made, but never data/
	rm -rf $(VENV) .airflow $(MANIFEST) include/dbt/target include/dbt/logs build *.egg-info
