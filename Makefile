# ardock's task file, for people and for CI alike. `make help` lists the targets.
#
# What takes long leaves a stamp in .venv/.stamps and is done again only when something it depends on
# has changed: every target can be called at any time, on a bare clone too.

SHELL := bash
.SHELLFLAGS := -eu -o pipefail -c
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help

PYTHON ?= python3
# Where `make install` puts things, and beneath what (for packagers).
PREFIX ?= /usr/local
DESTDIR ?=
# Arguments for the test runners, such as: make test-python PYTEST="-k oom -x"
PYTEST ?=
CARGO_TEST ?=
# CI builds what is committed: a lock file that does not fit is an error there.
LOCKED := $(if $(CI),--locked)

VENV := .venv
BIN := $(VENV)/bin
STAMPS := $(VENV)/.stamps
export VIRTUAL_ENV := $(CURDIR)/$(VENV)
# The interpreter whose interface the extension is built against, the same for every cargo command.
export PYO3_PYTHON := $(CURDIR)/$(BIN)/python

RUST := Cargo.toml $(wildcard Cargo.lock) $(shell find rust -path rust/fuzz -prune -o \( -name '*.rs' -o -name Cargo.toml -o -name '*.json' \) -print)
unless = $(if $(wildcard $(1)),,always)
PYTHON_SOURCES := $(shell find python/ardock -name '*.py' -o -name '*.pyi' -o -name py.typed)

##@ Two commands to begin with

.PHONY: run
run: root build ## Set everything up and run a container on a copy-on-write view of this host's root
	@packaging/first-run $(BIN)/ardock

.PHONY: test
test: test-rust test-python ## Set everything up and run every test, Rust and Python

##@ Building

.PHONY: setup
setup: $(STAMPS)/packages ## Install what is missing: Debian packages, virtual environment, Python packages

.PHONY: build
build: $(STAMPS)/build ## Build the extension and the keeper; the command is then .venv/bin/ardock

.PHONY: wheel
wheel: $(STAMPS)/wheel ## Build the wheel into dist/

.PHONY: sdist
sdist: $(STAMPS)/sdist ## Build the source distribution into dist/

.PHONY: install
install: $(STAMPS)/wheel ## Install the command and the service (PREFIX, DESTDIR)
	PYTHON=$(PYTHON) packaging/install dist/ardock-*.whl $(PREFIX) $(DESTDIR)

.PHONY: uninstall
uninstall: ## Remove what install put there; containers and state stay
	rm -rf $(DESTDIR)$(PREFIX)/lib/ardock $(DESTDIR)$(PREFIX)/share/doc/ardock
	rm -f $(DESTDIR)$(PREFIX)/bin/ardock $(DESTDIR)$(PREFIX)/lib/sysusers.d/ardock.conf
	rm -f $(DESTDIR)$(PREFIX)/lib/systemd/system/ardock.service

.PHONY: clean
clean: ## Remove all that was built, the virtual environment too
	rm -rf target dist $(VENV) .mypy_cache .pytest_cache .ruff_cache .hypothesis
	rm -rf python/ardock/_bin python/ardock/_core*.so
	find python tests bench examples -name __pycache__ -type d -prune -exec rm -rf {} +

##@ Testing

.PHONY: test-rust
test-rust: root $(STAMPS)/packages ## Run the Rust tests (CARGO_TEST="..." passes arguments)
	@# The extension crate is wiring without tests of its own, and could not be linked without Python.
	cargo test --workspace --exclude ardock-python $(LOCKED) $(CARGO_TEST)

.PHONY: test-python
test-python: root build ## Run the Python tests (PYTEST="..." passes arguments)
	$(BIN)/python -m pytest $(PYTEST)

# Virtual machines with Debian's kernels, in pure emulation (tests/vm): VM names the boots, VMTESTS takes what
# `python -m tests.vm run --help` tells, such as: make test-vm VM=hybrid VMTESTS='--pytest "tests/engine/test_limits.py"'
VM ?= v2
VMTESTS ?=
.PHONY: test-vm
test-vm: vm ## Run the tests in a virtual machine: Debian's kernel, control groups v2 only, AppArmor
	$(BIN)/python -m tests.vm run $(VM) $(VMTESTS)

.PHONY: vm-shell
vm-shell: vm ## A shell in such a machine (VM=v2, systemd, hybrid, backports)
	@$(BIN)/python -m tests.vm shell $(VM)

.PHONY: test-all
test-all: test vm ## Run every test here, and in every virtual machine that tests/vm/matrix.toml describes
	$(BIN)/python -m tests.vm run $(VMTESTS)

.PHONY: vm
vm: root $(STAMPS)/vm $(STAMPS)/wheel ## Install the emulator and build what runs in it

# Coverage-guided fuzzing of what reads bytes that somebody else made: the API's byte streams, tar archives, layers. libFuzzer
# without cargo-fuzz, which needs a nightly compiler for sanitizers that a crate without unsafe code has no use for; the
# instrumentation itself is LLVM's, and stable rustc hands these flags on to it. What is learnt stays in target/fuzz/corpus,
# so that each run goes on where the last one ended; an input that fails is left in target/fuzz, and its path is printed.
FUZZ_SECONDS ?= 60
FUZZERS := frames tar ingest
FUZZ := target/fuzz/$(shell uname -m)-unknown-linux-gnu/release
.PHONY: fuzz
fuzz: $(STAMPS)/host ## Fuzz the readers of frames and archives, a minute each (FUZZ_SECONDS=3600 for longer)
	@command -v c++ >/dev/null || { echo "make: libFuzzer is compiled from C++: apt-get install g++" >&2; exit 1; }
	RUSTFLAGS="--cfg fuzzing -Ccodegen-units=1 -Cpasses=sancov-module $(patsubst %,-Cllvm-args=-sanitizer-coverage-%,level=4 \
	  inline-8bit-counters pc-table trace-compares)" cargo build --release --manifest-path rust/fuzz/Cargo.toml --locked \
	  --target $(shell uname -m)-unknown-linux-gnu --target-dir target/fuzz
	@mkdir -p $(FUZZERS:%=target/fuzz/corpus/%)
	@# The first byte tells the fuzzer how to cut the archive, and to leave its sums alone.
	@for format in v7 ustar gnu pax; do \
	  { printf '\377'; tar --format=$$format -b1 -cf - rust/frames/Cargo.toml rust/frames/src/lib.rs; } >target/fuzz/corpus/tar/$$format; \
	  for program in cat gzip; do { printf '\371'; tar --format=$$format -b1 -cf - rust/frames/Cargo.toml | $$program; } \
	    >target/fuzz/corpus/ingest/$$format-$$program; done; done
	for fuzzer in $(FUZZERS); do \
	  $(FUZZ)/$$fuzzer -max_total_time=$(FUZZ_SECONDS) -max_len=16384 -rss_limit_mb=1024 -timeout=10 -print_final_stats=1 \
	    -artifact_prefix=target/fuzz/$$fuzzer- target/fuzz/corpus/$$fuzzer; done

.PHONY: soak
soak: root build ## Ten thousand runs, images that come and go for ten minutes: exact, and nothing grows
	ARDOCK_SOAK=1 $(BIN)/python -m pytest tests/engine/test_soak.py tests/engine/images/test_race.py $(PYTEST)

.PHONY: check-dist
check-dist: root wheel sdist ## Install wheel and sdist into empty environments and run a container with each
	packaging/check-dist dist/ardock-*.whl dist/ardock-*.tar.gz

.PHONY: bench
bench: root build peers ## Measure launching beside the floor and other engines, events, the command line, disks
	$(BIN)/python bench/launch.py
	$(BIN)/python bench/events.py
	$(BIN)/python bench/cli.py
	$(BIN)/python bench/disk.py
	$(BIN)/python bench/unpack.py
	$(BIN)/python bench/opening.py

.PHONY: peers
peers: root $(STAMPS)/host ## Install the other engines that tests and benches compare with, where possible
	@packaging/setup-host --peers

##@ Style

.PHONY: lint
lint: build ## Check style and types: ruff, mypy, stubtest, rustfmt, clippy
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/python -m mypy.stubtest ardock._core --mypy-config-file pyproject.toml
	cargo fmt --all --check
	cargo fmt --manifest-path rust/fuzz/Cargo.toml --check
	cargo clippy --workspace --all-targets $(LOCKED) -- -D warnings

.PHONY: format
format: $(STAMPS)/packages ## Rewrite the sources in the project's style
	$(BIN)/ruff check --fix
	$(BIN)/ruff format
	cargo fmt --all
	cargo fmt --manifest-path rust/fuzz/Cargo.toml

##@ Upkeep

.PHONY: lock
lock: $(STAMPS)/packages ## Pin the newest allowed versions of all dependencies in the lock files
	packaging/lock $(BIN)/python
	cargo update
	cargo update --manifest-path rust/fuzz/Cargo.toml

.PHONY: help
help: ## Show this list
	@awk 'BEGIN { FS = ":.*## " } \
	  /^##@/ { printf "\n%s\n", substr($$0, 5) } \
	  /^[a-z][a-z-]*:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' Makefile

# Stamps tell that something was made, not that nobody has removed it since.
.PHONY: always
always:

.PHONY: root
root:
	@[ "$$(id -u)" -eq 0 ] || { echo "make: containers need root: call make as root, e.g. with sudo" >&2; exit 1; }

$(STAMPS)/host: packaging/setup-host
	@PYTHON=$(PYTHON) packaging/setup-host
	@mkdir -p $(@D) && touch $@

$(STAMPS)/packages: $(STAMPS)/host requirements/dev.lock
	@[ -x $(BIN)/pip ] || $(PYTHON) -m venv $(VENV)
	@echo "setup: installing the Python packages of requirements/dev.lock into $(VENV)" >&2
	@$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r requirements/dev.lock || \
	  { echo "setup: pip could not install them (see above; is there a network?)" >&2; exit 1; }
	@touch $@

$(STAMPS)/vm: packaging/setup-host $(STAMPS)/packages
	@packaging/setup-host --vm
	@touch $@

# An editable install: changes of Python files count at once, only Rust is built anew.
$(STAMPS)/build: $(STAMPS)/packages pyproject.toml $(RUST) $(call unless,python/ardock/_core*.so) \
  $(call unless,python/ardock/_bin/ardock-keeper)
	$(BIN)/maturin develop --release $(LOCKED)
	@touch $@

$(STAMPS)/wheel: $(STAMPS)/packages pyproject.toml README.md LICENSE $(RUST) $(PYTHON_SOURCES) \
  $(call unless,dist/*.whl)
	rm -f dist/*.whl
	$(BIN)/maturin build --release --out dist $(LOCKED)
	@touch $@

$(STAMPS)/sdist: $(STAMPS)/packages pyproject.toml README.md CHANGELOG.md LICENSE $(RUST) $(PYTHON_SOURCES) \
  $(call unless,dist/*.tar.gz)
	rm -f dist/*.tar.gz
	$(BIN)/maturin sdist --out dist
	@touch $@
