"""Benchmarks by name: `./run bench [NAME…] [--json]`. docs/reference/benchmarks.md tells what they measure.

Each is a module of this package with `GOALS`, {ratio: (">=" or "<=", bound)}, and `run(stage, sizes) -> dict`: figures,
and under "ratios" the product over an anchor that was measured in turns with it. Absolute figures drift from machine to
machine; the ratios are what counts.
"""

REGISTRY: dict[str, str] = {  # name → dotted module
    "fanout": "benchmarks.fanout",
    "scale": "benchmarks.scale",
    "groups": "benchmarks.groups",
    "latency": "benchmarks.latency",
    "isolation": "benchmarks.isolation",
    "statuspage": "benchmarks.statuspage",
    "reports": "benchmarks.reports",
    "sentiment": "benchmarks.sentiment",
}
