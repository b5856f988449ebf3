"""Posts that somebody brings, as JSON or as a CSV file: read strictly, all of them or none."""

import csv
import io
from collections.abc import Iterator, Mapping
from datetime import timedelta
from typing import Any

from django.utils import timezone
from django.utils.dateparse import parse_datetime
from django.utils.translation import gettext as _

from channels.providers.base import Heard

FIELDS = {"id": 300, "text": 4000, "at": 40, "language": 12, "url": 500, "author": 300}  # and their characters
NEEDED = ("id", "text", "at")
MOST = 500  # posts in one message
MOST_ROWS = 5000  # in one file
MAX_FILE = 5 * 1024 * 1024
MOST_ERRORS = 20  # that are told of one file


class Malformed(ValueError):
    """What cannot be read. The message names it, its value and the fix."""


def read(payload: Any) -> list[Heard]:
    """The posts in {"posts": [{"id", "text", "at", …}]}. Raises Malformed."""
    posts = payload.get("posts") if isinstance(payload, dict) else None
    if not isinstance(posts, list) or not posts:
        raise Malformed("“posts” is missing or empty, or no list.")
    if len(posts) > MOST:
        raise Malformed(f"“posts” has {len(posts)} entries; send {MOST} at most in one message.")
    found = []
    for number, one in enumerate(posts):
        if not isinstance(one, dict):
            raise Malformed(f"“posts[{number}]” is no object.")
        try:
            found.append(_post(one))
        except ValueError as error:
            raise Malformed(f"posts[{number}]: {error}") from None
    return found


def read_csv(content: bytes) -> tuple[list[Heard], list[str]]:
    """The posts of a file with a heading, and what is wrong with it: row, field, value and fix."""
    if len(content) > MAX_FILE:
        return [], [_("The file is larger than 5 MB. Split it.")]
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        return [], [_("The file is not UTF-8 at byte %(at)d. Save it as “CSV UTF-8”.") % {"at": error.start}]
    try:
        dialect: Any = csv.Sniffer().sniff(text.partition("\n")[0], ",;\t")
    except csv.Error:
        dialect = csv.excel
    reader = csv.DictReader(io.StringIO(text, newline=""), dialect=dialect, strict=True)
    columns = [name.strip().lower() for name in reader.fieldnames or [] if name]
    if missing := [name for name in NEEDED if name not in columns]:
        wanted = {"missing": ", ".join(missing), "columns": ", ".join(FIELDS)}
        return [], [_("Row 1: the columns %(missing)s are missing. The heading may have: %(columns)s.") % wanted]
    if unknown := [name for name in columns if name not in FIELDS]:
        wanted = {"unknown": unknown[0][:40], "columns": ", ".join(FIELDS)}
        return [], [_("Row 1: “%(unknown)s” is no column of posts; those are: %(columns)s.") % wanted]
    reader.fieldnames = columns
    found, errors = [], []
    try:
        for row, values in _rows(reader):
            try:
                found.append(_post({name: value.strip() for name, value in values.items() if value and value.strip()}))
            except ValueError as error:
                errors.append(_("Row %(row)d: %(error)s") % {"row": row, "error": error})
            if len(errors) >= MOST_ERRORS:
                return [], errors
            if len(found) > MOST_ROWS:
                return [], [_("The file has more than %d rows. Split it.") % MOST_ROWS]
    except csv.Error as error:
        return [], [_("Row %(row)d cannot be read as CSV: %(error)s.") % {"row": reader.line_num, "error": error}]
    if not found and not errors:
        errors.append(_("There is no row below the heading."))
    return ([], errors) if errors else (found, [])


def _rows(reader: Any) -> Iterator[tuple[int, dict[str, str]]]:
    for number, values in enumerate(reader, 2):
        if None in values:
            raise csv.Error(_("it has more cells than the heading"))
        yield number, values


def _post(given: Mapping[str, Any]) -> Heard:
    """Raises ValueError with a sentence: field, value, fix."""
    for name in given.keys() - FIELDS.keys():
        raise ValueError(
            _("“%(name)s” is no field of a post; those are: %(fields)s.")
            % {"name": str(name)[:40], "fields": ", ".join(FIELDS)}
        )
    values: dict[str, str] = {}
    for name, most in FIELDS.items():
        value = given.get(name, "")
        if not isinstance(value, str):
            raise ValueError(_("“%(name)s” is not a text.") % {"name": name})
        if len(value) > most:
            raise ValueError(
                _("“%(name)s” has %(n)d characters; the limit is %(most)d.")
                % {"name": name, "n": len(value), "most": most}
            )
        if not value.strip() and name in NEEDED:
            raise ValueError(_("“%(name)s” is missing.") % {"name": name})
        values[name] = value.encode("utf-8", "replace").decode().replace("\0", "")
    try:
        at = parse_datetime(values["at"].strip())
    except ValueError:
        at = None
    if at is None or timezone.is_naive(at) or not 2000 < at.year < 9000:
        raise ValueError(
            _("“at” is “%(value)s”; write a time with its zone, as in 2026-11-03T14:02:10Z.")
            % {"value": values["at"][:40]}
        )
    if at > timezone.now() + timedelta(minutes=5):
        raise ValueError(_("“at” is “%(value)s”, which is still to come.") % {"value": values["at"][:40]})
    if values["url"] and not values["url"].startswith("https://"):
        raise ValueError(
            _("“url” is “%(value)s”; write an address that begins with https://.") % {"value": values["url"][:60]}
        )
    return Heard(values["id"], at, values["text"], values["author"], values["language"], values["url"])
