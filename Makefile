# `make run` starts everything on this machine, `make test` runs the whole suite.
# Needs python3 (3.11-3.13) with venv, and make; everything else is installed into .venv.

SHELL := /bin/sh
VENV ?= .venv
PORT ?= 8000
JOBS ?= 2
UV ?= uv
PIP = -m pip install --quiet --disable-pip-version-check --require-hashes
SUPPORTED = import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))
FIND = for python in $(PYTHON) python3.13 python3.12 python3.11 python3; do \
	  if command -v $$python >/dev/null 2>&1 && $$python -c '$(SUPPORTED)' 2>/dev/null; then found=$$python; break; fi; done; \
	if [ -z "$$found" ]; then echo "Gatewayz needs Python 3.11, 3.12 or 3.13: none is on PATH (name one with make PYTHON=…)." >&2; exit 1; fi; \
	if ! $$found -c 'import ensurepip, venv' 2>/dev/null; then \
	  echo "$$found has no venv: install it (Debian, Ubuntu: apt install $$($$found -c 'import sys; print("python%d.%d-venv" % sys.version_info[:2])'))." >&2; exit 1; fi
# Each of these is constrained by those before it: every home runs one version of everything.
SETS = layers/edge layers/control layers/local tests
# Each of these stands alone, in an environment of its own.
OTHER_SETS = tests/clients tests/packaging tests/extended tests/docs tests/release

# Without npm there is none, and what needs it is skipped.
VERCEL_CLI := $(if $(shell command -v npm),$(CURDIR)/$(VENV)-vercel/node_modules/.bin/vercel)

.PHONY: changelog docs routing-report run demo test soak mutants deployables extended explore check format clients packaging package-aws package-vercel lock help clean catalog catalog-world
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

help:
	@echo "make run     start Gatewayz at http://127.0.0.1:$(PORT)"
	@echo "make demo    a one-minute tour in the terminal"
	@echo "make test    the whole suite        make check   format, lint, types, unit tests"
	@echo "make soak    the simulation of the money, SEEDS=100 of it"
	@echo "make mutants breaks each guard of the money: a test must notice (hours; KIND=lua, PART=1/8)"
	@echo "make deployables   builds what is uploaded and runs it as the platforms do"
	@echo "make docs    builds the documentation site   make secrets, workflows, audit, upgrade FROM=v1"
	@echo "make changelog  writes docs/changelog.md from the commits"
	@echo "make explore the property tests on new examples"
	@echo "make extended  other people's SDKs, frameworks and coding agents as callers"
	@echo "make format  format and mend lint   make lock    lock the requirement sets (needs uv)"
	@echo "make package-aws, package-vercel   build the deployables (need sam, vercel)"

run: $(VENV)/local
	@$(VENV)/bin/gatewayz dev --show-key

demo: $(VENV)/local
	@$(VENV)/bin/gatewayz demo

test: $(VENV)/tests clients
	@$(VENV)/bin/python -m pytest -q -n $(JOBS) --dist loadfile $(ARGS)

soak: $(VENV)/tests
	@SIMULATION_SEEDS=1-$(or $(SEEDS),100) $(VENV)/bin/python -m pytest -q -n $(JOBS) --dist load tests/simulation/test_money.py

# Each guard of the money is broken in turn. Hours on two cores; a piece at a time: KIND, PART=1/8.
mutants: $(VENV)/tests
	@PYTHONPATH=shared:. nice $(VENV)/bin/python -m tests.simulation.mutants.run $(KIND) --jobs $(JOBS) --part $(or $(PART),1/1)

# Builds everything twice (sam, Vercel) and runs it: about five minutes. Vercel's part needs npm.
deployables: $(VENV)/tests $(VENV)-packaging/installed $(VERCEL_CLI)
	@DEPLOYABLES=1 VERCEL_CLI=$(VERCEL_CLI) $(VENV)/bin/python -m pytest -q tests/packaging $(ARGS)

# The simulation of docs/routing.md, played again.
routing-report: $(VENV)/tests
	@PYTHONPATH=shared:. $(VENV)/bin/python -W ignore -m tests.routing.simulation $(REQUESTS)

# The site, with the pages that the code writes of itself, in .venv-docs/site/html.
docs: $(VENV)/tests $(VENV)-docs/installed
	@rm -rf $(VENV)-docs/site
	@PYTHONPATH=shared:. $(VENV)/bin/python -m tests.docs.site.build $(VENV)-docs/site $(CURDIR)/$(VENV)-docs/bin/mkdocs

# What changed, from the commits.
changelog: $(VENV)/local
	@$(VENV)/bin/gatewayz release changelog docs/changelog.md

explore: $(VENV)/tests
	@HYPOTHESIS_PROFILE=explore $(VENV)/bin/python -m pytest -q -n $(JOBS) tests/unit $(ARGS)

extended: $(VENV)/tests $(VENV)-extended/installed $(VENV)-extended/node/installed
	@$(VENV)/bin/python -m pytest -q -n $(JOBS) --dist load tests/extended $(ARGS)

check: $(VENV)/tests
	@$(VENV)/bin/ruff format --check --quiet .
	@$(VENV)/bin/ruff check --quiet .
	@$(VENV)/bin/python -m mypy
	@$(VENV)/bin/python -m pytest -q -n $(JOBS) tests/unit tests/test_architecture.py

format: $(VENV)/tests
	@$(VENV)/bin/ruff format --quiet .
	@$(VENV)/bin/ruff check --quiet --fix .

clients packaging: %: $(VENV)-%/installed

ifneq ($(VERCEL_CLI),)
$(VERCEL_CLI):
	@echo "Installing the Vercel CLI …"
	@npm install --silent --no-audit --no-fund --no-package-lock --prefix $(VENV)-vercel vercel@60.1.3
endif

$(VENV)/bin/python:
	@$(FIND); echo "Creating $(VENV) with $$($$found --version) …"; \
	$$found -m venv $(VENV) || { echo "Could not create $(VENV): is this folder writable?" >&2; exit 1; }

# The sources are used where they lie: a path file and a launcher, no build, no network.
# Both are made anew in a clone that was moved, and a venv whose making was cut short is mended.
ifneq ($(shell cat $(VENV)/checkout 2>/dev/null),$(CURDIR))
.PHONY: $(VENV)/bin/gatewayz
endif
$(VENV)/bin/gatewayz: | $(VENV)/bin/python
	@$(VENV)/bin/python -m pip --version >/dev/null 2>&1 || $(VENV)/bin/python -m ensurepip >/dev/null 2>&1 || \
	  { $(FIND); $$found -m venv --clear $(VENV); }
	@printf '%s\n' '$(CURDIR)/shared' '$(CURDIR)' > "$$($(VENV)/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/gatewayz.pth"
	@printf '#!/bin/sh\nexec "$$(dirname "$$0")/python" -m gatewayz.cli "$$@"\n' > $@
	@chmod +x $@
	@printf '%s\n' '$(CURDIR)' > $(VENV)/checkout

$(VENV)/local: layers/local/requirements.txt | $(VENV)/bin/gatewayz
	@echo "Installing $< …"
	@$(VENV)/bin/python $(PIP) -r $<
	@touch $@

$(VENV)/tests: tests/requirements.txt | $(VENV)/bin/gatewayz
	@echo "Installing $< …"
	@$(VENV)/bin/python $(PIP) -r $<
	@touch $@ $(VENV)/local

# A lock names everything, so nothing is resolved again (with hashes pip cannot, where an extra is).
# What sam builds is run by the version it is built for, where that is installed.
$(VENV)-packaging/installed: PYTHON = $(firstword $(wildcard $(HOME)/.pyenv/versions/3.12*/bin/python3.12) python3.12)
$(VENV)-%/installed: tests/%/requirements.txt
	@$(FIND); $$found -m venv --clear $(VENV)-$*
	@echo "Installing $< …"
	@$(VENV)-$*/bin/python $(PIP) --no-deps -r $<
	@touch $@

# What npm has of the same; without npm those tests are skipped.
$(VENV)-extended/node/installed: tests/extended/package.json | $(VENV)-extended/installed
	@mkdir -p $(@D) && cp $< $(@D)
	@command -v npm >/dev/null 2>&1 || { echo "npm is missing: its clients are not tested." >&2; exit 0; }; \
	echo "Installing $< …"; \
	cd $(@D) && npm install --silent --no-package-lock --ignore-scripts --no-audit --no-fund
	@touch $@

COMPILE = $(UV) pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header \
	--no-python-downloads --no-annotate --no-emit-index-url --no-emit-find-links $(LOCKFLAGS)
# The catalog that ships is made of recorded listings; a changed reader or listing makes it anew.
catalog: $(VENV)/tests
	@$(VENV)/bin/python -m gatewayz.catalog.build tests/catalog/listings

catalog-world: $(VENV)/tests
	@CATALOG_WORLD=10000 $(VENV)/bin/python -m pytest -q -s tests/catalog/test_world.py -k sixty

lock:
	@set -e; pins=; for set in $(SETS); do \
	  $(COMPILE) $$pins $$set/requirements.in -o $$set/requirements.txt; \
	  pins="$$pins -c $$set/requirements.txt"; done
	@set -e; for set in $(OTHER_SETS); do \
	  $(COMPILE) $$set/requirements.in -o $$set/requirements.txt; done

# Lambda's disk is read-only: bytecode that is not uploaded is compiled at every cold start.
package-aws:
	sam build
	python3.12 -m compileall -q -s .aws-sam/build --invalidation-mode unchecked-hash .aws-sam/build

# In a copy: the build writes files that name package sources, and wants no work tree around it.
package-vercel: OUT ?= $(shell mktemp -d)
package-vercel:
	git ls-files -co --exclude-standard -z | tar --null -T - -c | tar -x -C $(OUT)
	mkdir -p $(OUT)/.vercel
	printf '{"projectId":"prj_local","orgId":"team_local","settings":{}}' > $(OUT)/.vercel/project.json
	cd $(OUT) && VERCEL_PYTHON_COMPILEALL=1 VERCEL_TELEMETRY_DISABLED=1 vercel build --yes --token x
	@echo "Built in $(OUT)"

clean:
	rm -rf $(VENV) $(VENV)-clients $(VENV)-packaging $(VENV)-docs $(VENV)-release $(VENV)-extended $(VENV)-vercel .pytest_cache .mypy_cache .ruff_cache .hypothesis

-include tests/release/release.mk
