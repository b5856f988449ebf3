"""The other end of stage.Child: orders in as lines of JSON, answers out. Standard library only."""

import json
import os
import sys
from collections.abc import Callable, Mapping
from typing import Any


def answer_lines(verbs: Mapping[str, Callable[..., Any]], hello: Mapping[str, Any] | None = None) -> None:
    """Say hello, then for each line {"do": verb, …} call that verb with the rest. Returns when the input closes.

    Whatever else the process prints goes to standard error, so that it cannot mix with the answers.
    """
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)

    def say(answer: Any) -> None:
        out.write(json.dumps(answer) + "\n")
        out.flush()

    say(dict(hello or {}))
    for line in sys.stdin:
        order = json.loads(line)
        say(verbs[order.pop("do")](**order))
