"""Reading a CSV file of subscribers: ours, or an export of Statuspage. Pure: no database, nothing is stored.

What is wrong with the file as a whole raises BadFile; what is wrong with one line is a BadRow, and the rest is read.
"""

import codecs
import csv
import io
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from zoneinfo import available_timezones

import phonenumbers
from django.conf import settings
from django.utils.translation import gettext as _

from channels.addresses import normalise
from channels.models import Medium
from channels.secrets import address_hash
from commsportal.spreadsheet import plain

from .models import Severity

MAX_BYTES = 20 * 1024 * 1024
MAX_ROWS = 200_000
MAX_COLUMNS = 50
# Tickets are linked at their incident, and a browser gives its own keys.
MEDIA = [m for m in Medium.values if m not in (Medium.TICKET, Medium.BROADCAST, Medium.WEBPUSH)]
OURS = ("medium", "address", "name", "locale", "time_zone", "components", "groups", "least_severity", "maintenance")
# What providers need of an address: a list of customers must not change it.
RESERVED = ("p256dh", "auth")
NOTHING = "(none)"  # in `components`: subscribed to nothing; an empty cell means everything
_KEY = re.compile(r"[^\W\d_][\w .:/-]{0,39}")
LENGTHS = {"address": 2000, "name": 120}
MAX_VALUE = 500


class BadFile(ValueError):
    """Nothing of it can be read. The message names the place, the value and the fix."""


@dataclass(frozen=True, slots=True)
class BadRow:
    """Why a line is left out. `line` counts from 1, with the header; `fix` is a sentence."""

    line: int
    column: str
    value: str
    fix: str


@dataclass(slots=True)
class Row:
    """One subscriber. A field that the file has no column for is None; `attributes` has an entry for each column."""

    line: int
    medium: str
    address: str
    hash: str
    name: str | None = None
    locale: str | None = None
    time_zone: str | None = None
    components: list[str] | None = None  # names or uids as written; [] everything, [NOTHING] nothing
    groups: list[str] | None = None
    least_severity: str | None = None
    maintenance: bool | None = None
    attributes: dict[str, str] = field(default_factory=dict)


@dataclass
class Read:
    rows: list[Row] = field(default_factory=list)
    bad: list[BadRow] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    statuspage: bool = False


class _Wrong(Exception):
    def __init__(self, column: str, value: str, fix: str) -> None:
        self.column, self.value, self.fix = column, value, fix


def is_key(name: str) -> bool:
    """Whether a column of this name can be an attribute."""
    return bool(_KEY.fullmatch(name)) and name.lower() not in (*OURS, *RESERVED)


def read(content: bytes) -> Read:
    """All lines of a file. Raises BadFile."""
    if len(content) > MAX_BYTES:
        raise BadFile(_("The file is larger than 20 MB: split it, and import the parts one after another."))
    found = Read()
    text = _decoded(content, found)
    lines = _records(text)
    first = next(lines, None)
    if first is None:
        raise BadFile(_("The file is empty: its first line must name the columns, for example medium,address,name."))
    header = [plain(cell).strip() for cell in first[1]]
    take = _statuspage(header) or _ours(header)
    found.statuspage = take.__name__ == "statuspage_row"
    _whole(header)
    seen: dict[tuple[str, str], int] = {}
    for line, cells in lines:
        if not any(cell.strip() for cell in cells):
            continue
        if len(found.rows) + len(found.bad) >= MAX_ROWS:
            raise BadFile(
                _("The file has more than %(n)s lines: split it, and import the parts one after another.")
                % {"n": f"{MAX_ROWS:,}"}
            )
        try:
            if len(cells) != len(header):
                fix = _("The line has %(n)d columns and the header %(m)d: put values with the separator in quotes.")
                raise _Wrong("", cells[0][:80], fix % {"n": len(cells), "m": len(header)})
            row = take(line, [plain(cell).strip() for cell in cells])
            before = seen.setdefault((row.medium, row.hash), line)
            if before != line:
                fix = _("The same address is in line %(line)d already: keep one of the two.")
                raise _Wrong("address", row.address[:80], fix % {"line": before})
        except _Wrong as wrong:
            found.bad.append(BadRow(line, wrong.column, wrong.value[:80], wrong.fix))
        else:
            found.rows.append(row)
    return found


def _decoded(content: bytes, found: Read) -> str:
    encoding = "utf-16" if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) else "utf-8-sig"
    try:
        text = content.decode(encoding)
    except UnicodeDecodeError:
        try:
            text = content.decode("cp1252")
        except UnicodeDecodeError as error:
            line = content[: error.start].count(b"\n") + 1
            raise BadFile(
                _("Line %(line)d is neither UTF-8 nor Windows-1252: save the file as “CSV UTF-8”.") % {"line": line}
            ) from None
        found.warnings.append(
            _("The file is not UTF-8, so it was read as Windows-1252. Look whether names with accents are right.")
        )
    if "\0" in text:
        line = text[: text.index("\0")].count("\n") + 1
        raise BadFile(_("Line %(line)d holds a NUL character: save the file as “CSV UTF-8”.") % {"line": line})
    return text


def _records(text: str) -> Iterator[tuple[int, list[str]]]:
    """(number of its first line, cells) of each record."""
    stream = io.StringIO(text, newline="")
    head, _newline, _rest = text.partition("\n")
    before = 0
    if match := re.fullmatch(r"sep=(.)\r?", head):  # Excel's own way to say it
        delimiter = match[1]
        stream.readline()
        before = 1
    else:
        delimiter = max(",;\t", key=lambda one: _known(head, one))
    reader = csv.reader(stream, delimiter=delimiter, strict=True)
    while True:
        line = before + reader.line_num + 1
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error:
            fix = _("Line %(line)d has broken quotes: a quote within a quoted value is written twice.")
            raise BadFile(fix % {"line": line}) from None
        yield line, cells


def _known(head: str, delimiter: str) -> int:
    """How many columns we know the header has if it is cut here."""
    names = [_slug(name) for name in head.replace('"', "").split(delimiter)]
    return sum(name in OURS or name in _STATUSPAGE for name in names)


def _slug(name: str) -> str:
    return re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_")


def _whole(header: list[str]) -> None:
    if len(header) > MAX_COLUMNS:
        raise BadFile(
            _("The header has %(n)d columns, and %(max)d are allowed: remove those that are not needed.")
            % {"n": len(header), "max": MAX_COLUMNS}
        )
    seen: set[str] = set()
    for name in header:
        if name.lower() in seen:
            raise BadFile(_("The header names the column “%(name)s” twice: remove one.") % {"name": name[:80]})
        seen.add(name.lower())


# ── Our own columns ─────────────────────────────────────────────────────────


def _ours(header: list[str]) -> Callable[[int, list[str]], Row]:
    names = [name.lower() if name.lower() in OURS else name for name in header]
    if "address" not in names:
        raise BadFile(
            _("The header has no column “address”; it has: %(names)s. Rename the one that holds the addresses.")
            % {"names": ", ".join(name[:30] for name in header[:10])}
        )
    for name in names:
        if name not in OURS and not is_key(name):
            raise BadFile(
                _("The column “%(name)s” cannot be an attribute: begin with a letter, at most 40 letters and digits.")
                % {"name": name[:80]}
            )
    zones = available_timezones()

    def row(line: int, cells: list[str]) -> Row:
        given = dict(zip(names, cells, strict=True))
        medium = given.get("medium", "").lower() or Medium.EMAIL
        if medium not in MEDIA:
            raise _Wrong("medium", medium, _("Write one of: %(values)s.") % {"values": ", ".join(MEDIA)})
        one = _addressed(line, medium, given["address"], "address")
        one.name = _name(given.get("name"))
        one.locale = _one_of("locale", given, [code for code, _label in settings.LANGUAGES])
        one.time_zone = given.get("time_zone")
        if one.time_zone and one.time_zone not in zones:
            raise _Wrong("time_zone", one.time_zone, _("Write it as Europe/Rome or America/New_York."))
        one.components, one.groups = _list(given.get("components")), _list(given.get("groups"))
        one.least_severity = _one_of("least_severity", given, Severity.values)
        maintenance = _one_of("maintenance", given, ["yes", "no"])
        one.maintenance = None if not maintenance else maintenance == "yes"
        one.attributes = {key: value for key, value in given.items() if key not in OURS}
        for key, value in one.attributes.items():
            if len(value) > MAX_VALUE:
                raise _Wrong(key, value, _("It is longer than %(n)d characters.") % {"n": MAX_VALUE})
        return one

    return row


def _addressed(line: int, medium: str, address: str, column: str) -> Row:
    if len(address) > LENGTHS["address"]:
        raise _Wrong(column, address, _("It is longer than %(n)d characters.") % {"n": LENGTHS["address"]})
    try:
        address = normalise(medium, address)
    except ValueError as error:
        raise _Wrong(column, address, str(error)) from None
    return Row(line, str(medium), address, address_hash(medium, address))


def _name(text: str | None) -> str | None:
    if text is None:
        return None
    text = " ".join(text.split())
    if len(text) > LENGTHS["name"] or not text.isprintable():
        raise _Wrong("name", text, _("Write at most %(n)d printable characters.") % {"n": LENGTHS["name"]})
    return text


def _one_of(column: str, given: dict[str, str], values: list[str]) -> str | None:
    value = given.get(column)
    if not value:
        return value
    if value.lower() not in values:
        raise _Wrong(column, value, _("Write one of: %(values)s.") % {"values": ", ".join(values)})
    return value.lower()


def _list(text: str | None) -> list[str] | None:
    return None if text is None else [part for one in text.split("|") if (part := one.strip())]


# ── Statuspage ──────────────────────────────────────────────────────────────

# Certain (Statuspage's API, subscriber): mode, email, endpoint, phone_number, phone_country, quarantined_at,
# components. Certain (its help, "Import subscribers via CSV"): a type of email, sms or webhook, and a phone number
# without its country's code beside a country of two letters. Assumed, as no documentation names the header of the
# exported file: that it says the same in words ("Phone Number", "Quarantined At"), has "Confirmed" or "Confirmed At"
# where it tells unconfirmed people apart, and separates components by | , or ;. Unknown columns are left out.
_STATUSPAGE = {
    "mode": ("mode", "type", "subscriber_type"),
    "email": ("email", "email_address"),
    "phone_number": ("phone_number", "phone", "display_phone_number"),
    "phone_country": ("phone_country", "country_code", "country", "phone_country_code"),
    "endpoint": ("endpoint", "webhook_url", "webhook", "url"),
    "components": ("components", "component_ids", "component_names"),
    "quarantined_at": ("quarantined_at", "quarantined"),
    "confirmed": ("confirmed", "confirmed_at", "confirmation_status"),
}
_NO = ("", "no", "false", "0", "null", "nil", "n", "pending", "unconfirmed")


def _statuspage(header: list[str]) -> Callable[[int, list[str]], Row] | None:
    """Reads a line of such an export; None if the header is none of it."""
    slugs = [_slug(name) for name in header]
    where = {
        ours: next((i for i, slug in enumerate(slugs) if slug in theirs), None) for ours, theirs in _STATUSPAGE.items()
    }
    has = {name for name, i in where.items() if i is not None}
    if "address" in slugs or not has & {"email", "phone_number", "endpoint"}:
        return None
    if not has & {"quarantined_at", "confirmed", "mode"} and not {"email", "phone_number"} <= has:
        return None

    def statuspage_row(line: int, cells: list[str]) -> Row:
        given = {name: "" if i is None else cells[i] for name, i in where.items()}
        column, medium, address = _where_to(given)
        if given["quarantined_at"].lower() not in _NO:
            fix = _("Statuspage had stopped writing to this address: it is left out.")
            raise _Wrong(header[where["quarantined_at"] or 0], address, fix)
        if "confirmed" in has and given["confirmed"].lower() in _NO:
            raise _Wrong(header[where["confirmed"] or 0], address, _("Never confirmed at Statuspage: it is left out."))
        if medium == Medium.SMS and not address.startswith("+"):
            address = _phone(address, given["phone_country"])
        one = _addressed(line, medium, address, column)
        if "components" in has:
            one.components = [part for text in re.split(r"[|;,]", given["components"]) if (part := text.strip())]
        return one

    return statuspage_row


def _where_to(given: dict[str, str]) -> tuple[str, str, str]:
    """(column, medium, address): by the mode if there is one, else by the cell that is filled in."""
    columns = {"webhook": "endpoint", "sms": "phone_number", "email": "email"}
    mode = given["mode"].lower()
    if mode and mode not in columns:
        raise _Wrong("mode", mode, _("Only email, sms and webhook can be taken over."))
    for medium, column in columns.items():
        if mode == medium or (not mode and given[column]):
            return column, medium, given[column]
    raise _Wrong("email", "", _("The line has no address."))


def _phone(number: str, country: str) -> str:
    try:
        parsed = phonenumbers.parse(number, country.upper() or None)
    except phonenumbers.NumberParseException:
        return number  # what is wrong with it is said where all addresses are looked at
    return phonenumbers.format_number(parsed, phonenumbers.PhoneNumberFormat.E164)
