# Static builds, packages and what goes with them. Included by the Makefile.

STATIC := $(or $(CARGO_TARGET_DIR),target)/static/session-manager-plugin

.PHONY: static test-static

# Static musl binary: target/static/session-manager-plugin (see packaging/musl/build).
static:
	packaging/musl/build

# The static binary in a root directory that holds nothing else.
test-static: static
	python3 packaging/tests/empty_root.py

.PHONY: deny

TOOLS := $(or $(CARGO_TARGET_DIR),target)/tools

# Licences, banned crates and sources of what is linked (deny.toml).
deny: $(TOOLS)/bin/cargo-deny
	PATH="$(abspath $(TOOLS))/bin:$$PATH" cargo deny --locked check bans licenses sources

# A debug build: it is needed for seconds, and takes half the time to build.
$(TOOLS)/bin/cargo-deny:
	cargo install cargo-deny --version 0.20.2 --locked --debug --no-default-features --root $(TOOLS)

.PHONY: manual

MANUAL := $(or $(CARGO_TARGET_DIR),target)/manual

# Manual pages and shell completions, from the definition of the command line.
manual:
	packaging/debian-packages gcc libc6-dev libssl-dev pkg-config
	rm -rf $(MANUAL)
	OPENSSL_NO_VENDOR=1 cargo run --quiet --locked --example manual -- $(MANUAL)

.PHONY: sbom licenses

DIST := $(or $(CARGO_TARGET_DIR),target)/dist

# Bill of materials (CycloneDX), and the licence texts of all that is linked.
sbom:
	mkdir -p $(DIST)
	python3 packaging/bill.py sbom >$(DIST)/session-manager-plugin.cdx.json

licenses:
	mkdir -p $(DIST)
	python3 packaging/bill.py licenses >$(DIST)/LICENSES.txt
