# make help lists what there is. Everything that is made stands in target/.

.DEFAULT_GOAL := help

include packaging/packaging.mk

.PHONY: help demo sandbox test check check-readme recording bench build venv test-tools fuzz soak

# Lists the targets, with the comment before each.
help:
	@awk '/^# /{ if (text == "") text = substr($$0, 3); next } \
	  /^[a-z][a-z0-9-]*:/{ split($$1, name, ":"); if (text != "") printf "  make %-16s %s\n", name[1], text } \
	  { text = "" }' $(MAKEFILE_LIST)

# The program, for this machine: target/release/session-manager-plugin.
build:
	cargo build --release --locked

# A shell session against the sandbox, in this terminal.
demo:
	cargo build --locked --workspace
	tests/sandbox/demo $(OUT)/debug

# A shell in which all examples of README.md work: nodes, a container, a web server, an sshd, all of them this machine.
sandbox:
	cargo build --locked --workspace
	tests/readme/playground.py $(OUT)/debug "$${SHELL:-/bin/sh}"

# All tests.
test: venv test-tools
	tests/default-signals cargo --config 'target."cfg(unix)".runner = "$(CURDIR)/tests/runner"' \
	  test --locked --workspace --no-fail-fast --lib --bins --tests --examples
	tests/default-signals cargo test --locked --workspace --no-fail-fast --doc

# What the tests drive: the AWS CLI, and programs that talk through sessions.
venv: $(OUT)/venv/.complete

$(OUT)/venv/.complete: tests/requirements.txt
	python3 -c 'import ensurepip' 2>/dev/null || packaging/debian-packages python3-venv
	python3 -m venv $(OUT)/venv
	$(OUT)/venv/bin/pip install --quiet --disable-pip-version-check --requirement tests/requirements.txt
	touch $@

test-tools:
	packaging/debian-packages openssh-client openssh-server rsync busybox-static mksh ksh93u+m curl git iproute2 netcat-openbsd \
	  redis-tools tmux

# Fuzzing, a minute each target; FUZZ_SECONDS for more. Needs rustup's nightly.
fuzz:
	tests/fuzz/run $(or $(FUZZ_SECONDS),60)

# Long sessions, long runs of simulation and threads, for SOAK_MINUTES; ThreadSanitizer needs rustup's rust-src.
soak:
	tests/soak $(or $(SOAK_MINUTES),30)

# Formatting, lints, licences, documentation.
check: deny check-python
	cargo fmt --all --check
	cargo clippy --locked --workspace --all-targets -- -D warnings
	RUSTDOCFLAGS="-D warnings" cargo doc --quiet --locked --workspace --no-deps
	RUSTDOCFLAGS="-D warnings" cargo doc --quiet --locked --workspace --no-deps --document-private-items

# The examples of README.md, and of docs, run against the sandbox and compared with what they show.
check-readme: venv test-tools
	cargo build --locked --workspace
	cargo build --locked --example library
	tests/readme/check.py $(OUT)/debug
	tests/readme/record.py --check $(OUT)/debug

# The recording in README.md (docs/recording.svg), made anew.
recording:
	cargo build --locked --workspace
	tests/readme/record.py $(OUT)/debug

PYTHON_CHECKS := $(OUT)/tools/python-checks/bin
PYTHON_CONFIG := packaging/python/pyproject.toml
PYTHON_SOURCES := packaging/python tests/python tests/readme packaging/packages packaging/tests packaging/bill.py packaging/size.py \
  tests/runner

# Formatting, lints and types of Python.
check-python: venv
	packaging/python-tools python-checks packaging/python/requirements.txt
	$(PYTHON_CHECKS)/black --quiet --check --config $(PYTHON_CONFIG) $(PYTHON_SOURCES)
	$(PYTHON_CHECKS)/ruff check --quiet --no-cache --config $(PYTHON_CONFIG) $(PYTHON_SOURCES)
	MYPYPATH=packaging/python:tests/python:tests/readme $(PYTHON_CHECKS)/mypy --config-file $(PYTHON_CONFIG) --cache-dir $(OUT)/mypy \
	  --python-executable $(OUT)/venv/bin/python packaging/python/session_manager_plugin tests/python tests/readme

# Micro-benchmarks, and the whole program against the sandbox. PLUGIN=path puts another client beside it.
# ONLY='mux up' measures the lines of the table that hold this, QUICK=1 everything shorter and once, LONG=10 transfers of 10 GB too.
bench:
	$(if $(ONLY),,cargo bench --locked --bench micro $(if $(QUICK),-- --quick))
	cargo bench --locked --bench whole
