import argparse
import json
import signal
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import Any

from . import REGISTRY
from .measure import Options, Wrong, judged
from .stage import opened

STOPS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def main(argv: Sequence[str] | None = None) -> int:
    """Run some benchmarks, or all; with --json the last line is one JSON object.

    A goal that is missed does not fail a run: other work on the machine may be why. A lost or doubled message does.
    """
    parser = argparse.ArgumentParser(prog="./run bench")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(REGISTRY)}; all if left out")
    parser.add_argument("--json", action="store_true", help="end with one line of JSON")
    parser.add_argument("--full", action="store_true", help="the real sizes: up to a million recipients, and hours")
    parser.add_argument("--rounds", type=int, default=3, help="turns of each, of which the median counts (3)")
    parser.add_argument("--size", type=int, help="recipients, instead of the size that each benchmark has")
    given = parser.parse_args(argv)
    unknown = [name for name in given.names if name not in REGISTRY]
    if unknown:
        print(f"There is no benchmark “{unknown[0]}”. There are: {', '.join(REGISTRY)}.", file=sys.stderr)
        return 2
    if given.rounds < 1 or (given.size is not None and given.size < 1):
        print("--rounds and --size must be 1 or more.", file=sys.stderr)
        return 2
    options = Options(full=given.full, rounds=given.rounds, size=given.size)
    results: dict[str, Any] = {}
    try:
        with opened() as stage:
            for name in dict.fromkeys(given.names or REGISTRY):
                module = import_module(REGISTRY[name])
                results[name] = judged(module.run(stage, options), module.GOALS)
                show(name, results[name])
    except Wrong as wrong:
        print(f"\n{wrong}", file=sys.stderr)
        return 1
    if given.json:
        print(json.dumps({"benchmarks": results}))
    return 0


def show(name: str, result: dict[str, Any]) -> None:
    """One benchmark as a table."""
    print(f"\n{name}")
    for key, value in result.items():
        if key not in ("ratios", "goals"):
            print(f"  {key:<44} {_number(value):>14}")
    for key, value in result["ratios"].items():
        goal = result["goals"].get(key)
        said = f"goal {goal['reach']} {'reached' if goal['reached'] else 'missed'}" if goal else ""
        print(f"  {key:<44} {value:>14.3f}  {said}".rstrip())
    sys.stdout.flush()


def _number(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:,.3f}" if abs(value) < 100 else f"{value:,.0f}"
    return f"{value:,}" if isinstance(value, int) else str(value)


def stop(*_args: object) -> None:
    """End what was started, and let no second signal disturb that."""
    for one in STOPS:
        signal.signal(one, lambda *_args: None)
    print("\nStopped.", file=sys.stderr)
    sys.exit(130)


if __name__ == "__main__":
    for one in STOPS:
        signal.signal(one, stop)
    sys.exit(main())
