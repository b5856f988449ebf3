"""`./run faults`: every fault in turn, on a PostgreSQL of its own, each with a database of its own."""

import argparse
import json
import os
import secrets
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.postgres import SURVIVES, Postgres


def main() -> int:
    parser = argparse.ArgumentParser(prog="./run faults", description="Break things in mid-send; count who was lost.")
    parser.add_argument("name", nargs="*", help="only the faults whose name has this in it")
    parser.add_argument("--quick", action="store_true", help="some of them, with a small audience and short times")
    parser.add_argument("--json", action="store_true", help="end with one line of JSON")
    options = parser.parse_args()
    for one in (signal.SIGTERM, signal.SIGINT):
        signal.signal(one, stop)
    with tempfile.TemporaryDirectory(prefix="commsportal-faults-") as folder, Postgres(SURVIVES) as server:
        prepare(Path(folder), server)
        return run(Path(folder), server, options.name, options.quick, options.json)


def stop(*_signal: Any) -> None:
    """Stop everything that was started, and let nothing interrupt that."""
    for one in (signal.SIGTERM, signal.SIGINT):
        signal.signal(one, signal.SIG_IGN)
    sys.exit(130)


def prepare(folder: Path, server: Postgres) -> None:
    """Django on the template of all databases."""
    admin(server, "CREATE DATABASE portal")
    ours = ("DELIVERY_", "WORKER", "SWEEP_", "QUEUE_", "PORTAL_", "CACHE_URL", "SECURE_", "FIELD_KEYS", "DEBUG")
    for name in [one for one in os.environ if one.startswith(ours)]:
        del os.environ[name]  # the product as it is shipped, whatever else is set in this shell
    os.environ.update(
        DATABASE_URL=server.url.removesuffix("postgres") + "portal",
        DATA_DIR=str(folder),
        SECRET_KEY=secrets.token_urlsafe(50),
        LOG_LEVEL="ERROR",
        DJANGO_SETTINGS_MODULE="commsportal.settings",
    )
    (folder / "static").mkdir()
    import django
    from django.conf import settings
    from django.core.management import call_command
    from django.db import connection

    import tests.faults.manage  # noqa: F401 - the harness's providers, in this process too

    django.setup()
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]  # the real one is slow on purpose
    call_command("migrate", verbosity=0)
    connection.close()


def run(folder: Path, server: Postgres, names: Sequence[str], only_quick: bool, as_json: bool) -> int:
    """Each fault, a table, and the exit status: 1 if any missed."""
    from tests.faults import ground, judge
    from tests.faults.rows import FAULTS, LEFT_OUT

    scale = ground.quick() if only_quick else ground.full()
    wanted = [one for one in FAULTS if any(name in one.name for name in names)] if names else FAULTS
    wanted = [one for one in wanted if one.quick or names or not only_quick]
    if not wanted:
        print("No fault has such a name.", file=sys.stderr)
        return 2
    began = time.monotonic()
    verdicts = []
    for number, one in enumerate(wanted):
        start = time.monotonic()
        found = attempt(one, number, folder, server, scale)
        verdicts.append(found)
        mark = "✓" if found.ok else "✗"
        print(f"  {mark} {one.name} ({time.monotonic() - start:.0f} s)", flush=True)
    print(f"\n{judge.table(verdicts)}\n")
    for name, why in LEFT_OUT.items():
        print(f"{name}: not tried ({why}).")
    missed = sum(not one.ok for one in verdicts)
    print(f"{len(verdicts) - missed} ok, {missed} missed ({time.monotonic() - began:.0f} s)")
    if as_json:
        rows: list[dict[str, Any]] = [one.as_json() for one in verdicts]
        print(json.dumps({"faults": rows, "left_out": list(LEFT_OUT), "ok": not missed}))
    return 1 if missed else 0


def attempt(fault: Any, number: int, folder: Path, server: Postgres, scale: Any) -> Any:
    """One fault in a database of its own; a harness that fails counts as missed."""
    from django.db import connection

    from tests.faults.ground import Ground
    from tests.faults.judge import Verdict

    database = f"fault_{number}"
    admin(server, f"CREATE DATABASE {database} TEMPLATE portal")
    connection.settings_dict["NAME"] = database
    home = folder / database
    home.mkdir()
    ground = Ground(home, scale, server)
    try:
        try:
            fault.happen(ground)
        except Exception as error:
            ground.problems.append(str(error) or type(error).__name__)
        verdict = ground.verdict(fault.name)
    except Exception as error:
        verdict = Verdict(fault.name, problems=[*ground.problems, f"{type(error).__name__}: {error}"])
    finally:
        ground.close()
        connection.close()
    if not verdict.ok:
        for worker in ground.workers:
            print("".join(worker.log.splitlines(True)[-20:]), file=sys.stderr)
    shutil.rmtree(home)
    return verdict


def admin(server: Postgres, statement: str) -> None:
    import psycopg

    with psycopg.connect(server.url, autocommit=True) as one:
        one.execute(statement)


if __name__ == "__main__":
    sys.exit(main())
