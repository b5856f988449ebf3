"""What a fault did, by the ledger of what arrived. Knows nothing of how it was done."""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

REACHED = ("sent", "delivered")
RESUME_SECONDS = 60


@dataclass(frozen=True)
class Allowed:
    """What a fault may cost. People, and seconds until the work that it stopped goes on."""

    unknown: int = 0
    failed: int = 0
    skipped: int = 0
    resume: float = RESUME_SECONDS


@dataclass
class Verdict:
    fault: str
    people: int = 0
    sent: int = 0
    lost: int = 0
    doubled: int = 0
    unknown: int = 0
    failed: int = 0
    skipped: int = 0
    resume: float | None = None
    problems: list[str] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        return not self.problems

    def as_json(self) -> dict[str, Any]:
        return {**self.__dict__, "verdict": "ok" if self.ok else "MISSED"}


def judge(
    fault: str,
    audience: Sequence[str],
    outcomes: Mapping[str, str],
    ledger: Sequence[str],
    allowed: Allowed,
    resume: float | None,
    problems: Sequence[str] = (),
    waiting: Collection[str] = (),
) -> Verdict:
    """`outcomes` maps an address to the status that staff see; `ledger` has one entry for each message accepted.

    Lost: without an outcome and not `waiting` for one, or said to be sent and never arrived. Who is marked unknown,
    failed or skipped is not lost: a person sees it. Doubled: arrived more than once; excused only where it is unknown.
    """
    arrived = Counter(ledger)
    count = Counter(outcomes.values())
    sent = {one for one, status in outcomes.items() if status in REACHED}
    twice = {one for one, n in arrived.items() if n > 1}
    denied = [one for one, status in outcomes.items() if status in ("failed", "skipped") and one in arrived]
    found = Verdict(
        fault,
        people=len(audience),
        sent=len(sent),
        lost=len(set(audience) - set(outcomes) - set(waiting)) + len(sent - set(arrived)),
        doubled=len(twice),
        unknown=count["unknown"],
        failed=count["failed"],
        skipped=count["skipped"],
        resume=resume,
        problems=list(problems),
    )
    blame = found.problems.append
    if found.lost:
        blame(f"{found.lost} lost")
    if waiting:
        blame(f"{len(waiting)} still waiting")
    sure = [one for one in twice if outcomes.get(one) != "unknown"]
    if sure:
        blame(f"{len(sure)} got it twice and are not marked unknown")
    if set(arrived) - set(audience):
        blame(f"{len(set(arrived) - set(audience))} strangers got it")
    if denied:
        blame(f"{len(denied)} got it and are said not to have got it")
    if found.doubled > allowed.unknown:
        blame(f"{found.doubled} doubled, at most {allowed.unknown} were in flight")
    for name in ("unknown", "failed", "skipped"):
        n, most = getattr(found, name), getattr(allowed, name)
        if n > most:
            blame(f"{n} {name}, at most {most} may be")
    if resume is not None and resume > allowed.resume:
        blame(f"resumed after {resume:.0f} s, {allowed.resume:.0f} at most")
    return found


def table(verdicts: Sequence[Verdict]) -> str:
    """As Markdown."""
    rows = [("Fault", "People", "Sent", "Lost", "Doubled", "Unknown", "Failed", "Stopped", "Resumed (s)", "Verdict")]
    for v in verdicts:
        numbers = (v.people, v.sent, v.lost, v.doubled, v.unknown, v.failed, v.skipped)
        resume = "–" if v.resume is None else f"{v.resume:.1f}"
        rows.append((v.fault, *map(str, numbers), resume, "ok" if v.ok else "MISSED: " + "; ".join(v.problems)))
    last = len(rows[0]) - 1
    widths = [max(len(row[i]) for row in rows) if i < last else 0 for i in range(last + 1)]
    lines = [
        "| " + " | ".join(cell.rjust(w) if 0 < i < last else cell.ljust(w) for i, (cell, w) in pairs) + " |"
        for pairs in (list(enumerate(zip(row, widths, strict=True))) for row in rows)
    ]
    rule = "|" + "|".join("-" * (w + 1) + ":" if 0 < i < last else "-" * (w + 2) for i, w in enumerate(widths)) + "|"
    return "\n".join([lines[0], rule, *lines[1:]])
