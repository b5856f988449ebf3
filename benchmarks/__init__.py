"""Benchmarks by name: `./run bench NAME --json`.

Each is a module of this package with `run() -> dict`: figures, and `ratios` of the product over an anchor measured in
the same run. Absolute figures drift from machine to machine; the ratios are what counts.
"""

REGISTRY: dict[str, str] = {}  # name → dotted module
