# make demo, make test and make bench set up what they need themselves: see tools/setup.sh.
.DEFAULT_GOAL := help
.PHONY: help demo test test-environments test-kernels conformance fuzz bench bench-kernel lint docs clean

PYTHON_RUN := .venv/bin/python
ARGS ?=

help: ## show this list
	@sed -n 's/^\([a-z-]*\):.*## /  make \1\t/p' $(MAKEFILE_LIST) | expand -t 20
	@echo '  make test ARGS="-k mmap" hands ARGS to pytest, make demo ARGS=... to the demo;'
	@echo '  make bench ARGS="--quick --only calls" measures less;'
	@echo '  make conformance ARGS=--update writes down what it found'

demo: ## real programs draw on a framebuffer written in Python, through mmap
	@tools/setup.sh demo
	@$(PYTHON_RUN) demo/demo.py $(ARGS)

test: ## run all tests, some of them in virtual machines
	@tools/setup.sh test
	@$(PYTHON_RUN) tools/run_tests.py $(ARGS)

test-kernels: ## test the kernel host on Linux 6.1, 6.12 and Debian's newest, in virtual machines
	@tools/setup.sh test
	@MAPDEV_KERNELS="6.1 6.12 newest" $(PYTHON_RUN) -m pytest -rs tests/vm/test_kernels.py \
		tests/vm/test_aarch64_module.py $(ARGS)

conformance: ## compare what programs see here with real kernels
	@tools/setup.sh test
	@$(PYTHON_RUN) -m tests.conformance.report $(ARGS)

test-environments: ## run the tests in containers: other Debians, Docker's profile; ARGS="docker hidepid"
	@tools/setup.sh test environments
	@$(PYTHON_RUN) -m tests.environments $(ARGS)

bench: ## compare speed with FUSE and others, in some minutes; best on a quiet machine
	@tools/setup.sh bench
	@$(PYTHON_RUN) -m bench $(ARGS)

bench-kernel: ## compare the kernel host with CUSE and drivers in C, in a virtual machine
	@tools/setup.sh test bench
	@$(PYTHON_RUN) -m bench.kernel $(ARGS)

fuzz: ## random calls against a model, for longer than CI does: MAPDEV_FUZZ=1000
	@tools/setup.sh test
	@MAPDEV_FUZZ=$${MAPDEV_FUZZ:-200} $(PYTHON_RUN) -m pytest tests/fuzz $(ARGS)

lint: ## check style and types
	@tools/setup.sh test
	$(PYTHON_RUN) -m ruff check .
	$(PYTHON_RUN) -m ruff format --check .
	$(PYTHON_RUN) -m mypy

docs: ## build the documentation site in site/
	@tools/setup.sh docs
	NO_MKDOCS_2_WARNING=1 $(PYTHON_RUN) -m mkdocs build --strict

clean: ## remove all that was made here: environment, caches, VM image, site
	rm -rf bench/.build bench/results .venv .cache site build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find src tests demo docs bench -name __pycache__ -prune -exec rm -rf {} +
