.POSIX:
PYTHON = python3
VENV = .venv
BIN = $(VENV)/bin
ORACLES = .oracles
# With compiled files each pytest process starts 5 s of CPU sooner, so a wish to write none is not followed.
PYTEST = PYTHONDONTWRITEBYTECODE= $(BIN)/python -m pytest -q
COMPILED = .pytest_cache/compiled
.PHONY: run test check soak oracles bench profile docs assets lock messages screenshots

# Installs exactly what the lock says; the stamp makes a second run free.
INSTALL = $(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed; set PYTHON=...")' \
	&& { test -x $(BIN)/python || $(PYTHON) -m venv $(VENV); } \
	&& $(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r

$(VENV)/.run: requirements.txt
	@echo "Installing the packages of requirements.txt into $(VENV) ..."
	@$(INSTALL) requirements.txt
	@touch $@

$(VENV)/.dev: requirements.txt requirements-dev.txt
	@echo "Installing the packages of requirements-dev.txt into $(VENV) ..."
	@$(INSTALL) requirements-dev.txt
	@touch $@ $(VENV)/.run

# Packages that would quarrel with ours, so they live apart.
$(ORACLES)/.installed: VENV = $(ORACLES)
$(ORACLES)/.installed: requirements-oracles.txt
	@echo "Installing the vendors' SDKs of requirements-oracles.txt into $(ORACLES) ..."
	@$(INSTALL) requirements-oracles.txt
	@touch $@

run: $(VENV)/.run ## install, set up and serve on HOST:PORT
	@$(BIN)/python manage.py setup && exec $(BIN)/python manage.py serve

check: $(VENV)/.dev ## format, lint, types, import rules, and the tests that need no server
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(PYTEST) -m "not server and not browser"

test: $(VENV)/.dev $(ORACLES)/.installed ## everything, with real servers and a real browser
	@sh tests/servers.sh
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	@# Types and import rules are checked beside the tests, which wait much of their time. One process compiles changed tests
	@# first, which otherwise each worker does for itself. Four workers; tests with bounds in milliseconds run alone, afterwards.
	{ $(BIN)/mypy && $(BIN)/lint-imports; } & checks=$$!; \
		changed=$$(find tests -name 'test_*.py' -newer $(COMPILED) 2>/dev/null || echo tests); \
		test -z "$$changed" || { $(PYTEST) --collect-only -qq $$changed >/dev/null; mkdir -p .pytest_cache; touch $(COMPILED); }; \
		tests=0; $(PYTEST) -n 4 --dist loadfile --no-loadscope-reorder -m "not alone" || tests=$$?; \
		wait $$checks && exit $$tests
	$(PYTEST) -m alone $$(grep -rl --include='test_*.py' mark.alone tests)

soak: $(VENV)/.dev ## the race, kill and load tests at their full counts
	@sh tests/servers.sh
	SOAK=1 $(PYTEST) -m soak --timeout 3600

oracles: $(ORACLES)/.installed ## install the vendors' SDKs, against which tests check signatures and fakes

# LiteLLM, to compare with, in an environment of its own: what it needs is nothing of ours. The lock is complete; `--no-deps`
# because pip takes no extra of a locked package (`pydantic[email]`) for locked.
.bench/.installed: benchmarks/requirements.txt
	@echo "Installing the packages of benchmarks/requirements.txt into .bench ..."
	@$(PYTHON) -m venv .bench && .bench/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes -r benchmarks/requirements.txt
	@touch $@

bench: $(VENV)/.dev .bench/.installed ## the benchmarks, as tables with ratios; about fifteen minutes
	@sh tests/servers.sh
	$(BIN)/python -m benchmarks
	$(BIN)/python -m benchmarks.screening
	$(BIN)/python -m benchmarks.ledger
	$(BIN)/python -m benchmarks.wire

profile: $(VENV)/.dev ## sample the product under short completions, into var/profile.svg (docs/performance.md)
	$(BIN)/python -m benchmarks.sampling

screenshots: $(VENV)/.dev ## every page, on phone and desktop, light and dark, in both languages, into var/screenshots
	$(BIN)/python -m tests.browser.screenshots

docs: $(VENV)/.dev ## build the documentation site into var/site
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

assets: ## rebuild the committed front-end bundle (needs Node)
	cd frontend && npm ci --no-audit --no-fund && npm run build

lock: ## renew the locks from pyproject.toml (needs uv)
	uv pip compile pyproject.toml --universal --generate-hashes --python-version 3.11 --no-emit-index-url --no-emit-find-links --custom-compile-command "make lock" --quiet -o requirements.txt
	uv pip compile pyproject.toml --extra dev -c requirements.txt --universal --generate-hashes --python-version 3.11 --no-emit-index-url --no-emit-find-links --custom-compile-command "make lock" --quiet -o requirements-dev.txt
	uv pip compile --group oracles --universal --generate-hashes --python-version 3.11 --no-emit-index-url --no-emit-find-links --custom-compile-command "make lock" --quiet -o requirements-oracles.txt
	echo 'litellm[proxy]' | uv pip compile - --universal --generate-hashes --python-version 3.11 --no-emit-index-url --no-emit-find-links --custom-compile-command "make lock" --quiet -o benchmarks/requirements.txt

messages: ## collect and compile the translations (needs gettext)
	$(BIN)/python manage.py makemessages -l zh_Hans --no-location --no-obsolete --ignore=.venv --ignore=.oracles --ignore=.bench --ignore=var --ignore=tests --ignore=frontend --ignore=benchmarks
	$(BIN)/python manage.py compilemessages --ignore=.venv --ignore=.oracles --ignore=.bench
