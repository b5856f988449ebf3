"""Lists in portions, newest first. A cursor says after which row the next portion begins, whatever came meanwhile."""

import base64
from typing import Annotated, Any

from django.db.models import QuerySet
from ninja import Schema
from pydantic import Field, StringConstraints

from .given import BIG
from .problems import Stop, Wrong

MOST = 100
Limit = Annotated[int, Field(ge=1, le=MOST)]
Cursor = Annotated[str, StringConstraints(max_length=60)]


class Page(Schema):
    next_cursor: str | None  # None: there is nothing more


def portion(rows: QuerySet[Any], cursor: str, limit: int) -> tuple[list[Any], str | None]:
    """One portion, and the cursor of the next. Raises Stop (422) for a cursor that is none."""
    if cursor:
        rows = rows.filter(pk__lt=_read(cursor))
    found = list(rows.order_by("-pk")[: limit + 1])
    more = found[limit - 1].pk if len(found) > limit else None
    return found[:limit], _write(more) if more else None


def _write(pk: int) -> str:
    return base64.urlsafe_b64encode(f"before:{pk}".encode()).decode().rstrip("=")


def _read(cursor: str) -> int:
    try:
        word, _colon, digits = (
            base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)).decode("ascii").partition(":")
        )
        if word == "before" and digits.isdecimal() and int(digits) <= BIG:
            return int(digits)
    except ValueError:
        pass
    fix = "Take next_cursor of the answer before, as it is; leave it out to begin anew."
    wrong = Wrong("query", "cursor", cursor, "This is no cursor of ours.", fix)
    raise Stop(422, "invalid", "cursor: This is no cursor of ours.", [wrong])
