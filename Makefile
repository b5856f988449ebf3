# Short names for ./run, which does the work. `make` lists them.
.DEFAULT_GOAL := help
.PHONY: help demo test check lint format lock bench clean

help: ## show this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: ## start the demo company on http://127.0.0.1:8000
	./run demo

test: ## every test, on SQLite and (with a database) on PostgreSQL
	./run test

check: ## lint, types, templates, migrations, import direction, then the tests
	./run check

lint: ## the checks without the tests
	./run check --fast

format: ## put code and templates into shape
	.venv/bin/ruff check --fix-only -q .
	.venv/bin/ruff format -q .
	find templates -name '*.html' -exec .venv/bin/djhtml -t 2 {} +

bench: ## the benchmarks
	./run bench

lock: ## write the lock files anew from pyproject.toml
	./run lock

clean: ## remove caches (not the demo's data)
	rm -rf .pytest_cache .ruff_cache .mypy_cache .hypothesis
	find . -name __pycache__ -not -path './.venv/*' -prune -exec rm -rf {} +
