# The verbs of the project; `make help` prints them.

PREFIX  ?= /usr/local
DESTDIR ?=
CARGO   ?= cargo
# What CI and the tests run: like `release`, without the minutes of link-time optimisation over everything.
PROFILE ?= ci
# What is installed and measured; RELEASE=ci saves the minutes.
RELEASE ?= release

SHELL       := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS   += --no-print-directory

programs := podctl podshim podmon
cargo    := $(CARGO) --locked
bin      := $(DESTDIR)$(PREFIX)/bin
libexec  := $(DESTDIR)$(PREFIX)/libexec/podctl
share    := $(DESTDIR)$(PREFIX)/share
# Programs are linked statically, which cargo does for a named target only (.cargo/config.toml).
target   := target/$(shell rustc --print host-tuple 2> /dev/null)
built    := $(target)/$(RELEASE)

# `$(timed)NAME; time COMMAND` ends with a line that says how long the step took.
timed = TIMEFORMAT='== %1R s for '

.PHONY: help setup build images check unit suite test crash chaos fuzz compat collectors demo bench soak install uninstall clean

help: ## What can be made
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: ## Installs Debian's packages that are missing here (needs root and the registry only if some are)
	@$(timed)setup; time tests/setup.sh build run test

build: ## Builds the programs (profile ci)
	@tests/setup.sh build
	@$(timed)build; time $(cargo) build --profile $(PROFILE) $(programs:%=-p %)

images: ## Builds the images that the tests run, once per machine
	@tests/setup.sh build test
	@$(timed)images; time { $(cargo) build --quiet --profile $(PROFILE) -p tests --bins; $(target)/$(PROFILE)/images; }

check: ## Format, clippy, documentation, licences and advisories
	@tests/setup.sh build
	@$(timed)formatting; time $(cargo) fmt --all --check
	@$(timed)clippy; time $(cargo) clippy --quiet --profile $(PROFILE) --workspace --all-targets -- -D warnings
	@$(timed)documentation; time RUSTDOCFLAGS='-D warnings -A rustdoc::private_intra_doc_links' $(cargo) doc --quiet --profile $(PROFILE) --workspace --no-deps --document-private-items
	@$(timed)dependencies; time tests/audit.sh

unit: ## The tests beside the code
	@$(timed)'unit tests'; export FUZZ_SECONDS=$${FUZZ_SECONDS:-5}; time tests/hybrid.sh $(cargo) test --profile $(PROFILE) --workspace --exclude tests

suite: ## The tests of the real programs (needs root); one of them: make suite T=name
	@$(timed)suite; time $(cargo) test --profile $(PROFILE) -p tests -- $(T)

test: ## Everything: installs what is missing, builds, checks, tests (needs root)
	@$(MAKE) setup
	@$(MAKE) build
	@$(MAKE) check
	@$(MAKE) images
	@$(MAKE) unit
	@$(MAKE) suite

crash: ## Every failpoint, random kills, races and 1000 containers: about 20 minutes (needs root); PODCTL_SEED=n replays
	@tests/setup.sh build run test
	@$(timed)build; time $(cargo) build --quiet --profile $(PROFILE) --workspace --bins
	@rm -f target/crash.txt
	@export PODCTL_SEED=$${PODCTL_SEED:-$$(date +%s)} PODCTL_CRASH_ALL=1 PODCTL_CRASH_TABLE=$(CURDIR)/target/crash.txt; \
	$(timed)crash; time { $(cargo) test --profile $(PROFILE) -p tests -- crash:: fault:: --skip fault::chaos:: --test-threads 4 --nocapture; } || failed=1; \
	printf '\n%-44s %6s %9s %6s\n' 'what ran' cases took found; cat target/crash.txt; [ -z "$${failed:-}" ]

chaos: ## Random commands × random faults: CHAOS_SECONDS=600; PODCTL_SEED=n chooses the same ones again (needs root)
	@tests/setup.sh build run test
	@$(timed)build; time $(cargo) build --quiet --profile $(PROFILE) --workspace --bins
	@rm -f target/chaos.txt
	@export PODCTL_SEED=$${PODCTL_SEED:-$$(date +%s)} PODCTL_CRASH_TABLE=$(CURDIR)/target/chaos.txt; \
	export CHAOS_SECONDS=$${CHAOS_SECONDS:-600}; $(timed)chaos; time { $(cargo) test --profile $(PROFILE) -p tests -- fault::chaos:: --nocapture; } || failed=1; \
	printf '\n%-44s %6s %9s %6s\n' 'what ran' steps took found; cat target/chaos.txt; [ -z "$${failed:-}" ]

fuzz: ## Mutated input for everything that decodes bytes of others: FUZZ_SECONDS=120 each; FUZZ_SEED repeats a run
	@tests/setup.sh build run test
	@export FUZZ_SECONDS=$${FUZZ_SECONDS:-120}; $(timed)fuzzing; time $(cargo) test --profile $(PROFILE) -p proto --test fuzz -- --nocapture
	@export FUZZ_SECONDS=$${FUZZ_SECONDS:-120}; $(timed)fuzzing; time $(cargo) test --profile $(PROFILE) -p podmon --bin podmon fuzz:: -- --nocapture

compat: ## Archives to and from Debian's podman and skopeo (needs root)
	@tests/setup.sh build run test compat
	@$(timed)build; time $(cargo) build --quiet --profile $(PROFILE) --workspace --bins
	@$(timed)compat; time $(cargo) test --profile $(PROFILE) -p tests -- --ignored compat

demo: ## A pod with nginx, a sidecar, a shared volume and a published port, from nothing (needs root)
	@tests/setup.sh build run demo
	@$(timed)build; time $(cargo) build --quiet --profile $(PROFILE) $(programs:%=-p %)
	@tests/demo.sh $(target)/$(PROFILE)/podctl

bench: ## podctl and Debian's podman in turns on the same images: medians, ratios, memory (needs root)
	@tests/setup.sh build run test bench
	@$(timed)build; time $(cargo) build --quiet --profile $(RELEASE) --workspace --bins
	@$(built)/bench $(B)

soak: ## Logs of gigabytes, a line of one: S=4 gigabytes (needs root and room in /var/tmp)
	@tests/setup.sh build run test bench
	@$(timed)build; time $(cargo) build --quiet --profile $(RELEASE) --workspace --bins
	@$(built)/bench --soak=$(or $(S),4)

collectors: ## rsyslog, syslog-ng and tail follow a log through its rotations (installs them; needs root)
	@tests/setup.sh build run test collectors
	@# Debian lets nobody install two of them: this one is unpacked.
	@[ -x .cache/rsyslog/usr/sbin/rsyslogd ] || { mkdir -p .cache && cd .cache && apt-get -q download rsyslog && dpkg -x rsyslog_*.deb rsyslog; }
	@$(timed)build; time $(cargo) build --quiet --profile $(PROFILE) --workspace --bins
	@$(timed)collectors; time $(target)/$(PROFILE)/collectors

install: ## Installs the programs, their man pages and completions below PREFIX
	@tests/setup.sh build
	$(cargo) build --profile $(RELEASE) $(programs:%=-p %)
	install -D -m 755 -t $(bin) $(built)/podctl
	install -D -m 755 -t $(libexec) $(built)/podshim $(built)/podmon
	install -d $(share)/man/man1 $(share)/bash-completion/completions $(share)/zsh/site-functions $(share)/fish/vendor_completions.d
	$(built)/podctl manpages $(share)/man/man1
	$(built)/podctl completion bash > $(share)/bash-completion/completions/podctl
	$(built)/podctl completion zsh > $(share)/zsh/site-functions/_podctl
	$(built)/podctl completion fish > $(share)/fish/vendor_completions.d/podctl.fish

uninstall: ## Removes what install has put there
	rm -f $(bin)/podctl $(libexec)/podshim $(libexec)/podmon $(share)/man/man1/podctl.1 $(share)/man/man1/podctl-*.1
	rm -f $(share)/bash-completion/completions/podctl $(share)/zsh/site-functions/_podctl $(share)/fish/vendor_completions.d/podctl.fish
	@cd $(DESTDIR)$(PREFIX) && rmdir -p --ignore-fail-on-non-empty bin libexec/podctl share/man/man1 \
		share/bash-completion/completions share/zsh/site-functions share/fish/vendor_completions.d 2> /dev/null || true

clean: ## Removes everything that was built
	$(CARGO) clean
	rm -rf .cache
