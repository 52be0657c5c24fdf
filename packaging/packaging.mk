# Static builds, packages and what goes with them. Included by the Makefile.

OUT := $(or $(CARGO_TARGET_DIR),target)
ARCHITECTURES ?= x86_64

.PHONY: static static-aarch64 test-static

# Static musl binary: target/static/session-manager-plugin (see packaging/musl/build).
static:
	packaging/musl/build x86_64

# The same for aarch64: target/static-aarch64/session-manager-plugin.
static-aarch64:
	packaging/musl/build aarch64

.PHONY: static-sandbox

# The other side of sessions as a static binary, for tests of others: target/static/session-manager-sandbox.
static-sandbox:
	PLUGIN_PROGRAM=sandbox packaging/musl/build x86_64

# The static binary in a root directory that holds nothing else; what its TLS negotiates.
test-static: static
	packaging/debian-packages binutils openssl util-linux
	cargo build --locked --workspace
	packaging/tests/empty_root.py
	packaging/tests/tls.py

.PHONY: size

# What the static binary consists of, and what it needs.
size: static
	cargo build --locked --workspace
	packaging/size.py

.PHONY: deny

TOOLS := $(OUT)/tools

# Licences, banned crates and sources of what is linked (packaging/deny.toml).
deny: $(TOOLS)/bin/cargo-deny
	PATH="$(abspath $(TOOLS))/bin:$$PATH" cargo deny --locked --config packaging/deny.toml check bans licenses sources

# A debug build: it is needed for seconds, and takes half the time to build.
$(TOOLS)/bin/cargo-deny:
	cargo install cargo-deny --version 0.20.2 --locked --debug --no-default-features --root $(TOOLS)

.PHONY: manual

MANUAL := $(OUT)/manual

# Manual pages and shell completions, from the definition of the command line.
manual:
	packaging/debian-packages gcc libc6-dev make perl
	rm -rf $(MANUAL)
	cargo run --quiet --locked --example manual -- $(MANUAL)

.PHONY: sbom licenses

# Bill of materials (CycloneDX) of what is linked. The packages have their own.
sbom: static
	python3 packaging/bill.py sbom x86_64 >$(OUT)/session-manager-plugin.cdx.json

# The licence texts of what is linked. They are in the packages too.
licenses: static
	python3 packaging/bill.py licenses x86_64 >$(OUT)/LICENSES.txt

.PHONY: packages test-packages

# Archive, deb, rpm, apk, container image, wheel, formula and checksums in target/dist; archive, wheel and image of the sandbox.
# ARCHITECTURES says which are packed: x86_64, and aarch64 after `make static-aarch64`.
# RELEASE_URL and others: packaging/packages/__main__.py.
packages: static static-sandbox manual
	packaging/debian-packages busybox-static ca-certificates
	packaging/python-tools
	python3 packaging/packages $(ARCHITECTURES)

# Each package installed and used.
test-packages: packages
	packaging/debian-packages binutils busybox-static dpkg rpm skopeo umoci ruby nix-bin bash fish zsh man-db
	cargo build --locked --workspace
	packaging/tests/packages.py

.PHONY: test-reproducible

# The same commit built in two folders gives the same bytes. Takes two builds' time.
test-reproducible:
	packaging/tests/reproducible

.PHONY: test-aarch64 check-macos check-windows

# The aarch64 binary, run by an emulator: a command in a session over TLS.
test-aarch64: static-aarch64
	packaging/debian-packages qemu-user-static
	cargo build --locked --workspace
	packaging/tests/aarch64 $(OUT)/debug/sandbox $(OUT)/static-aarch64/session-manager-plugin

# That the program compiles for macOS.
check-macos:
	packaging/check-target aarch64-apple-darwin

# What is missing for Windows. It fails as long as anything is.
check-windows:
	packaging/check-windows
