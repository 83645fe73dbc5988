# The commands people type. `make` alone lists them.

CARGO ?= cargo
C_FILES = $(filter-out bpf/include/vmlinux.h,$(wildcard bpf/*.c bpf/include/*.h shared/src/*.c introspect/tests/*.c))
CLANG_FORMAT ?= $(firstword $(shell command -v clang-format-14 clang-format) clang-format-14)

.PHONY: help deps build demo test vm test-kernels bench bench-guest report php lint fmt clean

help: ## this list
	@sed -nE 's/^([a-z-]+):[^#]*## (.*)/make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 20

deps: ## install what is missing (Debian packages; uses sudo when not root)
	@tools/deps build test lint guest

build: ## build the binaries: target/release/{phase1-user-kill,phase2-kernel-kill,phase3-lsm,php-profile}
	@tools/deps build
	$(CARGO) build --release --workspace --bins

demo: build ## learn the bundled application, attack it, block it; another way: make demo STRATEGY=phase2-kernel-kill
	@tools/demo $(STRATEGY)

test: ## every test, on real PHP and this kernel; installs what is missing
	@tools/run-tests

vm: export GUEST_COMMAND = $(value CMD)
vm: ## run a command under another kernel: make vm KERNEL=6.12 CMD='uname -r'
	@tools/deps guest
	@$(CARGO) run --quiet --package xtask -- vm --kernel '$(KERNEL)' -- sh -c "$$GUEST_COMMAND"

test-kernels: ## the end-to-end suites under Linux 5.10, 6.1, 6.12, 6.18 and the newest (hours, where processors are emulated)
	@tools/deps build test guest
	@$(CARGO) run --quiet --package xtask -- test-kernels $(ARGS)

bench: ## the comparison: calls let through, how soon it ends, what it costs (a quarter of an hour)
	@tools/deps build test bench
	@AS_ROOT=1 $(CARGO) bench

bench-guest: ## the same in an emulated guest, for phase 3: counts and ratios (more than an hour)
	@tools/deps build test bench guest
	@tools/bench-guest $(or $(KERNEL),6.12)

report: ## write docs/results.md from the last whole benchmarks
	@$(CARGO) run --quiet --release --package benches --bin report

php: ## unpack PHP 7.4 to 8.5 for the tests, and list them
	@tools/deps test
	@AS_ROOT=1 tools/as-root tests/php/fetch

lint: ## formatting and lint checks
	@tools/deps build lint
	$(CARGO) fmt --all --check
	$(CARGO) clippy --workspace --all-targets -- -D warnings
	$(CARGO) clippy --package e2e --test lsm --test rewrite -- -D warnings
	$(CLANG_FORMAT) --dry-run -Werror $(C_FILES)

fmt: ## format everything
	@tools/deps lint
	$(CARGO) fmt --all
	$(CLANG_FORMAT) -i $(C_FILES)

clean: ## remove what was built
	$(CARGO) clean
