# What a person types: `make run`, `make test`. Everything a machine needs comes from here.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

# Or dev, which is faster to build and slower to run.
PROFILE ?= release
BINARY := $(or $(CARGO_TARGET_DIR),target)/$(if $(filter dev,$(PROFILE)),debug,$(PROFILE))/sandboxd

.PHONY: help run build deb languages services images image test test-vm test-engines fuzz soak faults lint deny bench clean

help: ## what can be made
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

run: languages build ## install what is missing, build, start the daemon and print a request that works
	@make/run.sh $(BINARY)

build: ## the binary
	@make/need-tools.sh
	cargo build --profile $(PROFILE) --locked

deb: build ## a Debian package in target/, which 'apt install ./target/sandboxd_….deb' installs and starts
	@packaging/deb.sh $(BINARY) $(dir $(BINARY))..

languages: ## install the Debian packages of the languages that are missing
	@make/languages.sh

services: ## containerd and Docker for the tests, where none answers; make/services.sh down stops them
	@make/services.sh up

images: services build ## the image of every language, in Docker
	@make/images.sh $(BINARY)

image: services ## sandboxd itself as an image in Docker, for driving an engine from a container
	@packaging/container/image.sh $(PROFILE)

test: languages ## every test; privileged ones print SKIP and why where they can't run
	@make/need-tools.sh
	@tests/run.sh

test-vm: ## the conformance suite on cgroup v2, and the units under systemd, in an emulated machine
	@make/need-tools.sh
	@tests/vm/run.sh

SUITES := trixie

test-engines: services ## Docker and containerd of SUITES under systemd, in emulated machines; some minutes each
	@make/need-tools.sh
	@tests/vm/engines.sh $(SUITES)

FUZZ_SECONDS := 60
# 0 is another one each time.
FUZZ_SEED := 0

fuzz: ## everything that reads bytes, for FUZZ_SECONDS each, under libFuzzer
	@make/need-tools.sh
	@FUZZ_SEED=$(FUZZ_SEED) make/fuzz.sh $(FUZZ_SECONDS)

SOAK_RUNS := 10000

soak: languages ## good and hostile programs side by side, SOAK_RUNS of them; some minutes
	@make/need-tools.sh
	SOAK_RUNS=$(SOAK_RUNS) cargo test --locked -p sandboxd --test integration -- --nocapture soak::

FAULT_ROUNDS := 100

faults: languages ## things that die without a word under load, FAULT_ROUNDS of them
	@make/need-tools.sh
	@make/services.sh up
	FAULT_ROUNDS=$(FAULT_ROUNDS) cargo test --locked -p sandboxd --test integration -- --nocapture fault_loop::

lint: ## formatting, clippy with warnings denied, the systemd units
	@make/need-tools.sh
	cargo fmt --all --check
	cargo clippy --workspace --all-targets --locked -- -D warnings
	@make/units.sh

deny: ## licences, sources and known vulnerabilities of everything that is linked; needs cargo-deny
	@cargo deny --version >/dev/null 2>&1 || { echo "cargo install --locked cargo-deny" >&2; exit 1; }
	cargo deny check

bench: languages build ## ratios to a bare spawn, in one run
	$(BINARY) bench

clean: ## what was built and cached here
	@make/services.sh down
	cargo clean
	rm -rf .cache
