# Static builds, packages and what goes with them. Included by the Makefile.

STATIC := $(or $(CARGO_TARGET_DIR),target)/static/session-manager-plugin

.PHONY: static test-static

# Static musl binary: target/static/session-manager-plugin (see packaging/musl/build).
static:
	packaging/musl/build

# The static binary in a root directory that holds nothing else.
test-static: static
	python3 packaging/tests/empty_root.py
