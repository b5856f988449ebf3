import argparse
import json
import sys
from importlib import import_module
from typing import Any

from . import REGISTRY


def main() -> int:
    """Run one benchmark, or all; with --json the last line is one JSON object."""
    parser = argparse.ArgumentParser(prog="./run bench")
    parser.add_argument("name", nargs="?", choices=sorted(REGISTRY) or None, help="one of them; all if left out")
    parser.add_argument("--json", action="store_true", help="end with one line of JSON")
    options = parser.parse_args()
    if options.name and options.name not in REGISTRY:
        print(f"There is no benchmark “{options.name}”.", file=sys.stderr)
        return 2
    if not REGISTRY:
        print("There are no benchmarks yet.")
    results: dict[str, Any] = {}
    for name in [options.name] if options.name else sorted(REGISTRY):
        results[name] = import_module(REGISTRY[name]).run()
        for key, value in results[name].items():
            print(f"{name}: {key} = {value}")
    if options.json:
        print(json.dumps({"benchmarks": results}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
