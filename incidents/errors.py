"""Why a verb was refused."""

from typing import ClassVar


class Problem(Exception):
    """Base of all. The message is for people; `status` is how HTTP says it."""

    status: ClassVar[int]


class NotAllowed(Problem):
    """This person may not do this. The message says why."""

    status = 403


class WrongState(Problem):
    """The thing has moved on since. The message names its state, who changed it and when."""

    status = 409


class Refused(Problem):
    """The content cannot go out as it is. `findings` says what and where."""

    status = 422

    def __init__(self, message: str, findings: list | None = None) -> None:
        super().__init__(message)
        self.findings = findings or []
