"""What became of a step, as its kind tells it."""

from dataclasses import dataclass
from datetime import datetime

from incidents.models import RunbookStepRun

State = RunbookStepRun.State


@dataclass(frozen=True)
class Outcome:
    """`note`: in words. `wake_at`: when a waiting step is looked at again (None: at every sweep).

    `jump`: index of the step to go on with instead of the next. `halts`: the run stands still until a person decides.
    """

    state: State
    note: str = ""
    wake_at: datetime | None = None
    jump: int | None = None
    halts: bool = False


def done(note: str = "", jump: int | None = None) -> Outcome:
    return Outcome(State.DONE, note, jump=jump)


def left_out(note: str) -> Outcome:
    """There was nothing to do, and `note` says why: the next step goes on."""
    return Outcome(State.SKIPPED, note)


def waits(note: str = "", until: datetime | None = None) -> Outcome:
    return Outcome(State.WAITING, note, wake_at=until)


def failed(note: str) -> Outcome:
    return Outcome(State.FAILED, note, halts=True)


def doubtful(note: str) -> Outcome:
    """It may have been done: whether to do it again is for a person to decide."""
    return Outcome(State.UNKNOWN, note, halts=True)
