# `make help` lists the targets, and shows the lines below. What needs Python packages makes its own
# virtual environment.
#   PYTHON=python3.13     the interpreter; another one than last time makes the environment anew
#   VENV=.venv            where the environment is; that of the benchmarks is .venv-bench
#   TESTS=tests/loop      what `make test`, `make test-all` and `make sanitize` run
#   JOBS=4                how many tests at a time (auto: one for each core, but at least two; 0: in one process)
#   VERSIONS=3.13         the Pythons of `make conformance`, unless PYTHON names one
#   TIERS=io LOOP=uvloop  its tests (io, asyncio, extra, ssl) and its loop (moodloop, asyncio, uvloop,
#                         moodloop-python: with TLS by asyncio.sslproto,
#                         moodloop-streams: with its streams)
#   ARGS='-k accept'      more arguments for the command that is run
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

# The rivals of the benchmarks stay out of the environment in which everything else is checked.
VENV ?= $(if $(filter bench bench-full bench-env,$(MAKECMDGOALS)),.venv-bench,$(if \
	$(filter wheels test-wheels check-wheels,$(MAKECMDGOALS)),build/venv-wheels,.venv))
ECOSYSTEM_VENV ?= build/venv-ecosystem
TESTS ?= tests
JOBS ?= auto
PARALLEL = -n $(JOBS) --dist worksteal
VERSIONS ?= 3.11 3.12 3.13 3.14 3.15
TIERS ?= io,asyncio,extra,ssl
LOOP ?= moodloop
ARGS ?=

PYTHON_GIVEN := $(filter-out undefined,$(origin PYTHON))
# Without PYTHON the interpreter stays the one the environment was made with.
ifeq ($(origin PYTHON), undefined)
PYTHON := $(or $(shell p=$$(cat $(VENV)/.python 2>/dev/null) && [ -x "$$p" ] && echo "$$p"),python3)
endif
# Names the interpreter in the stamps below, so that another one finds none of them.
PYID := $(shell $(PYTHON) -c 'import sys, zlib; print("%d.%d.%d-%08x" % (*sys.version_info[:3], \
	zlib.crc32((sys.base_prefix + sys.version).encode())))' 2>/dev/null)

PY := $(VENV)/bin/python
PIP := $(PY) -m pip install -qq
MADE := $(VENV)/.made-$(PYID)
EDITABLE := $(VENV)/.installed-$(PYID)
group = $(VENV)/.group-$(1)-$(PYID)
RIVALS = $(VENV)/.rivals-$(PYID)

C_FILES = $(shell find src benchmarks tests -name '*.[ch]')
STUBS = $(patsubst moodloop/%.pyi,moodloop.%,$(filter-out %/__init__.pyi,$(wildcard moodloop/*.pyi)))

SANITIZED := $(CURDIR)/build/sanitize/$(PYID)
# They build the package, or measure, or start a browser
NOT_SANITIZED = test_check_site.py test_packaging.py test_bench.py test_benchmarks.py test_conformance.py

.PHONY: help demo test test-all ecosystem run-ecosystem build lint format typecheck sanitize refleaks \
	conformance conformance-one conformance-each bench bench-full bench-env publish docs check-docs wheels \
	test-wheels check-wheels clean

help: ## list the targets, and the variables that change what they do
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))
	@echo; sed -n 's/^#   /  /p' $(firstword $(MAKEFILE_LIST))

demo: build $(call group,bench) ## a TCP server and clients on asyncio, moodloop and uvloop, measured
	@$(PY) -m moodloop bench $(ARGS)

test: build $(call group,test) ## run the tests
	$(PY) -m pytest $(PARALLEL) $(TESTS) $(ARGS)

# Every index of every call that can fail, new random programs, and what is marked `slow`. A variable
# that is set already holds.
test-all: build $(call group,test) ## the tests with the campaigns that take long: more of each, and other ones each time
	: $${MOODLOOP_TEST_FAULTS:=all} $${MOODLOOP_TEST_EXAMPLES:=5000} $${MOODLOOP_MODEL_EXAMPLES:=2000} \
		$${MOODLOOP_CHAOS:=5000} $${MOODLOOP_TEST_FUZZ:=1000:$$(date +%s)} $${MOODLOOP_TEST_HANG:=3600}; \
	export $${!MOODLOOP_@}; \
	$(PY) -m pytest $(PARALLEL) -o faulthandler_timeout=$$MOODLOOP_TEST_HANG -m '' $(TESTS) $(ARGS)

# Many packages, and some programs of Debian's: only here, and in an environment of its own.
ecosystem: ## real servers, frameworks and clients on moodloop
	@.ci/system "$(PYTHON)" redis-server postgresql gnutls-bin curl nginx-light
	@$(MAKE) run-ecosystem VENV=$(ECOSYSTEM_VENV) PYTHON="$(PYTHON)"

# Plugins are for the suites that the tests start.
NO_PLUGINS = asyncio anyio looptime_plugin looptime_chronometers looptime_timeproxies
run-ecosystem: build $(call group,ecosystem)
	$(PY) -m pytest $(addprefix -p no:,$(NO_PLUGINS)) tests/ecosystem $(ARGS)

build: $(EDITABLE) ## build the extension in place; only what has changed is compiled
	@$(PY) setup.py -q build_ext --inplace

# Offline: what zizmor and jactionlint would ask GitHub for is looked up when an action is chosen.
lint: $(call group,lint) ## ruff, clang-format, the workflows, and a build with warnings as errors
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	tools/check-source
	$(PY) tools/release --check
	PATH="$(abspath $(VENV))/bin:$$PATH" $(VENV)/bin/jactionlint
	$(VENV)/bin/zizmor --offline --quiet --no-progress .github
	@echo clang-format --dry-run --Werror src benchmarks tests
	@$(VENV)/bin/clang-format --dry-run --Werror $(C_FILES)
	MOODLOOP_WERROR=1 $(PY) setup.py -q build_ext --build-lib build/werror

format: $(call group,lint) ## format Python and C
	$(VENV)/bin/ruff check --fix-only --quiet .
	$(VENV)/bin/ruff format .
	@echo clang-format -i src benchmarks tests
	@$(VENV)/bin/clang-format -i $(C_FILES)

typecheck: build $(call group,typecheck) ## mypy on the package, stubtest on the stubs of the core
	$(VENV)/bin/mypy
	$(VENV)/bin/mypy --config-file= --check-untyped-defs examples/pyev_program.py
	$(PY) -m mypy.stubtest --allowlist .ci/stubtest-allowlist $(STUBS)

# The tests run in the directory of the sanitized package, so that a `python -c` of theirs finds it
# too. Reports go to files: a test, or pytest when a process ends at once, could swallow them.
# CPython leaves memory behind at exit, so leaks are not looked for; the tests count references.
sanitize: $(EDITABLE) $(call group,test) ## the tests on a build with AddressSanitizer and UBSan
	@rm -rf $(SANITIZED)/moodloop/*.py $(SANITIZED)/moodloop/bench $(SANITIZED)/moodloop/evergreen $(SANITIZED)/report.*
	MOODLOOP_SANITIZE=address,undefined $(PY) setup.py -q build --build-lib $(SANITIZED)
	@bin=$$(cd $(VENV)/bin && pwd); core=$$(ls $(SANITIZED)/moodloop/_core.*.so); \
	run() { env LD_PRELOAD="$$(ldd $$core | awk '/lib(a|ub)san/ { printf "%s ", $$3 }')" \
		ASAN_OPTIONS=detect_leaks=0:allocator_may_return_null=1:log_path=$(SANITIZED)/report \
		UBSAN_OPTIONS=print_stacktrace=1:log_path=$(SANITIZED)/report \
		PYTHONMALLOC=malloc PYTHONPATH=$(SANITIZED) \
		MOODLOOP_TEST_LOOP="$${MOODLOOP_TEST_LOOP:-moodloop}" "$$@"; }; \
	cd $(SANITIZED); \
	run $$bin/python -c 'from moodloop import _core; assert "sanitize" in _core.build_flags'; \
	echo "pytest, on $$core"; status=0; \
	run $$bin/pytest $(PARALLEL) -c $(CURDIR)/pyproject.toml --rootdir $(CURDIR) -p no:cacheprovider \
		$(addprefix --ignore=$(CURDIR)/tests/,$(NOT_SANITIZED)) $(addprefix $(CURDIR)/,$(TESTS)) $(ARGS) \
		|| status=$$?; \
	if compgen -G 'report.*' >/dev/null; then cat report.*; exit 1; fi; exit $$status

conformance: $(if $(PYTHON_GIVEN),conformance-one,conformance-each) ## CPython's own tests of asyncio on every Python from 3.11 to 3.15 there is

conformance-each:
	@bad=; for version in $(VERSIONS); do \
		if python=$$(tools/find-python $$version test.test_asyncio); then \
			$(MAKE) conformance-one PYTHON=$$python VENV=build/venv-$$version || bad+=" $$version"; \
		else \
			echo "no Python $$version with its tests here: left out ('tools/get-python $$version' gets it)"; \
		fi; \
	done; [ -z "$$bad" ] || { echo "failed on$$bad"; exit 1; }

conformance-one: build $(if $(filter uvloop,$(LOOP)),$(call group,bench))
	@cd tests && $(abspath $(PY)) -m conformance run --loop $(LOOP) --tiers $(TIERS) \
		--json $(CURDIR)/build/conformance/$(LOOP)-$(firstword $(subst -, ,$(PYID))).json $(ARGS)

# A debug interpreter is Debian's python3.11-dbg, or one built --with-pydebug.
DEBUG_PYTHON ?= python3.11-dbg
refleaks: ## the watchers' tests on a debug interpreter, which counts references (DEBUG_PYTHON=)
	@if ! $(DEBUG_PYTHON) -c 'import sys; sys.gettotalrefcount()' 2>/dev/null; then \
		echo "refleaks: skipped, as there is no debug interpreter $(DEBUG_PYTHON)"; \
	else \
		$(MAKE) test PYTHON="$$(command -v $(DEBUG_PYTHON))" VENV=build/venv-debug \
			TESTS="$(if $(filter file,$(origin TESTS)),tests/watcher,$(TESTS))" \
			ARGS="-p tests.support.refleaks $(ARGS)"; \
	fi

bench: bench-env ## the quick benchmarks against other loops, in less than 10 minutes
	$(PY) benchmarks/run.py --quick --within 400 $(ARGS)

bench-full: bench-env ## all benchmarks, in some hours: the figures of the documents
	$(PY) benchmarks/run.py $(ARGS)

bench-env: build $(RIVALS) ## only install what the benchmarks compare with

publish: ## put the figures of bench-full into README.md and docs/
	$(PYTHON) benchmarks/publish.py $(ARGS)

docs: $(call group,docs) ## the documentation, into site/
	NO_MKDOCS_2_WARNING=1 $(VENV)/bin/mkdocs build --strict --quiet

check-docs: docs ## each page in a browser (chromium): its links, its pictures, its console
	@.ci/system "$(PYTHON)" chromium
	@$(PY) tools/check-site site

wheels: $(call group,wheels) ## source distribution and wheels, into dist/; ARGS='--python 3.13 --target x86_64-linux-gnu': fewer
	$(PY) tools/wheels/build.py $(ARGS)

test-wheels: $(call group,wheels) ## the wheels of dist/ as installed, on each Python, and on aarch64 (emulated)
	$(PY) tools/wheels/test.py $(ARGS)

check-wheels: $(call group,wheels) ## the wheels of dist/ held against what is promised; ARGS=--again compares a second build
	$(PY) tools/wheels/check.py $(ARGS)

clean: ## remove all that was built, but not the virtual environment
	rm -rf build dist site *.egg-info .hypothesis .pytest_cache .mypy_cache .ruff_cache
	rm -f moodloop/*.so
	find moodloop tests benchmarks -name __pycache__ -prune -exec rm -rf {} +

$(MADE):
	@.ci/system "$(PYTHON)"
	@echo "making $(VENV) with $(PYTHON)"
	@rm -rf $(VENV)
	@$(PYTHON) -m venv $(VENV)
	@$(PIP) 'setuptools>=77'
	@$(PY) -c 'import sys; print(sys._base_executable)' > $(VENV)/.python
	@touch $@

# "compat" puts the directory on sys.path: setuptools' own finder comes too late for a program that
# stands beside the clone, which Python takes for a namespace package `moodloop`.
$(EDITABLE): $(MADE) pyproject.toml setup.py moodloop/_version.py
	@echo "building moodloop"
	@$(PIP) --no-build-isolation --no-deps --config-settings editable_mode=compat --editable .
	@touch $@

$(call group,bench): $(MADE) pyproject.toml
	@$(PIP) --only-binary :all: $$($(PY) .ci/group.py bench) && touch $@ || echo "uvloop cannot be had: going on without it"

# Wheels only: what a rival needs to be compiled is no part of this. One by one, so that those
# without a wheel for this Python are left out.
$(RIVALS): $(MADE) pyproject.toml
	@for package in $$($(PY) .ci/group.py rivals); do \
		echo "installing $$package"; \
		$(PIP) --disable-pip-version-check --only-binary :all: "$$package" 2>$(VENV)/pip.log \
			|| echo "without $$package: $$(tail -n 1 $(VENV)/pip.log)"; \
	done
	@touch $@

$(VENV)/.group-%-$(PYID): $(MADE) pyproject.toml
	@echo "installing the packages of the group '$*'"
	@$(PIP) $$($(PY) .ci/group.py $*)
	@touch $@
