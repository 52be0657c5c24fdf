# Static builds, packages and what goes with them. Included by the Makefile.

.PHONY: static

# Static musl binary: target/static/session-manager-plugin (see packaging/musl/build).
static:
	packaging/musl/build
