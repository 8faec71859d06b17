# What .github/workflows calls, each of them a command that works on any machine with the right
# credentials. Included by the Makefile.

.PHONY: upgrade comment deploy smoke release secrets workflows audit
STAGES = staging prod
TOKEN_FILE = $(VENV)/web-identity-token

# May this tree be deployed over that release? Its data, and its code on our schema.
upgrade: $(VENV)/tests
	@test -n "$(FROM)" || { echo "make upgrade FROM=<tag or commit>" >&2; exit 1; }
	@PYTHONPATH=shared:. $(VENV)/bin/python -m tests.release.upgrade "$(FROM)" $(REPORT)

comment:
	@gh pr comment "$(PR)" --edit-last --create-if-none --body-file "$(FILE)"

# The schema first: the code that runs meanwhile is the release before, which `upgrade` tried on it.
deploy: $(VENV)/local $(VENV)-packaging/installed
	@case " $(STAGES) " in *" $(STAGE) "*) ;; *) echo "make deploy STAGE=staging or prod" >&2; exit 1;; esac
	@$(VENV)/bin/python -m tests.release.identity $(TOKEN_FILE)
	@$(VENV)/bin/gatewayz migrate
	@PATH="$(CURDIR)/$(VENV)-packaging/bin:$$PATH" $(MAKE) package-aws
	@if test -s $(TOKEN_FILE); then export AWS_WEB_IDENTITY_TOKEN_FILE="$(CURDIR)/$(TOKEN_FILE)" AWS_ROLE_SESSION_NAME=gatewayz; fi; \
	$(VENV)-packaging/bin/sam deploy --config-env $(STAGE) --no-confirm-changeset --no-fail-on-empty-changeset; \
	code=$$?; rm -f $(TOKEN_FILE); exit $$code

smoke: $(VENV)/local
	@$(VENV)/bin/gatewayz smoke "$$GATEWAYZ_URL"

# TAG must be the version of the tree, and the release before must be one that we can follow.
release: $(VENV)/tests
	@$(VENV)/bin/python -m tests.release.notes "$(TAG)" $(VENV)/notes.md
	@previous=$$(git describe --tags --abbrev=0 "$(TAG)^" 2>/dev/null || true); \
	if test -n "$$previous"; then $(MAKE) upgrade FROM="$$previous"; fi
	@gh release create "$(TAG)" --verify-tag --title "$(TAG)" --notes-file $(VENV)/notes.md

# Nothing in the tree looks like a credential of somebody.
secrets: $(VENV)-release/installed
	@git ls-files -z | xargs -0 $(VENV)-release/bin/detect-secrets-hook \
	  --baseline tests/release/secrets.json --exclude-files 'requirements\.txt$$'

workflows: $(VENV)-release/installed
	@$(VENV)-release/bin/check-jsonschema --quiet --builtin-schema vendor.github-workflows .github/workflows/*.yml
	@$(VENV)-release/bin/zizmor --offline --quiet .github

# Asks the advisory database, so it needs the network.
audit: $(VENV)-release/installed
	@for set in $(SETS) $(OTHER_SETS); do \
	  $(VENV)-release/bin/pip-audit --disable-pip --require-hashes -r $$set/requirements.txt || exit 1; done
