"""Taking subscribers in from a file: kept, looked at without changing anything, then applied as it was shown.

A column that the file has says what holds from now on; of a column that it does not have, nothing changes. Addresses
that are stopped are left out whatever the file says.
"""

import csv
import hashlib
import io
import json
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field
from datetime import date, datetime, time, timedelta
from typing import Any

from django.contrib.auth.models import User
from django.db import IntegrityError, transaction
from django.utils import timezone
from django.utils.translation import gettext as _

from channels.models import Recipient, Suppression, default_time_zone
from commsportal.spreadsheet import armed

from .errors import WrongState
from .models import Component, ComponentGroup, Severity, SubscriberImport, Subscription
from .subscriber_file import NOTHING, BadFile, BadRow, Row, read

CHUNK = 5000
_FIELDS = ("name", "locale", "time_zone", "attributes", "consent_source", "confirmed_at")
# (component id, group id, least severity, maintenance)
Wants = frozenset[tuple[int | None, int | None, str, bool]]


@dataclass
class Counts:
    """What an import does, in lines of the file."""

    new: int = 0
    changed: int = 0
    unchanged: int = 0
    stopped: int = 0
    bad: int = 0


@dataclass
class Plan:
    """What an import would do now. `fingerprint` changes with the file, the consent, or what is in the database."""

    counts: Counts
    bad: list[BadRow]
    warnings: list[str]
    statuspage: bool
    fingerprint: str
    writes: list[tuple[Recipient, Wants | None]] = field(repr=False, default_factory=list)


# ── Keep ────────────────────────────────────────────────────────────────────


def keep(by: User, filename: str, content: bytes, consent_source: str, consent_on: date) -> SubscriberImport:
    """Keep an uploaded file for its dry run. Raises subscriber_file.BadFile, and then keeps nothing."""
    read(content)
    return SubscriberImport.objects.create(
        by=by,
        filename=filename[:120],
        content=zlib.compress(content, 1),
        sha256=hashlib.sha256(content).hexdigest(),
        consent_source=consent_source,
        consent_on=consent_on,
    )


def forget() -> None:
    """Empty the files that nobody decided on in time."""
    late = timezone.now() - timedelta(hours=SubscriberImport.OPEN_HOURS)
    SubscriberImport.objects.filter(created_at__lt=late).exclude(content=b"").update(content=b"")


# ── Look ────────────────────────────────────────────────────────────────────


def plan(one: SubscriberImport, lock: bool = False) -> Plan:
    """What applying it would do now. Changes nothing. Raises WrongState if its file is gone.

    `lock`: keep others from changing whom it finds; within a transaction.
    """
    if not one.is_open:
        raise WrongState(_("This file is not kept any more: upload it again."))
    found = read(zlib.decompress(bytes(one.content)))
    names = _Names()
    counts, writes = Counts(), []
    digest = hashlib.sha256(f"{one.sha256} {one.consent_source} {one.consent_on}".encode())
    for start in range(0, len(found.rows), CHUNK):
        for row, old, was, stopped in _known(found.rows[start : start + CHUNK], lock):
            if stopped:
                counts.stopped += 1
                digest.update(f"stopped {row.line}".encode())
                continue
            try:
                wants = names.wanted(row, was)
            except _Unknown as unknown:
                found.bad.append(BadRow(row.line, unknown.column, unknown.name[:80], unknown.fix))
                continue
            new = _merged(row, old, one)
            if old is not None and not _differs(old, new) and wants == was:
                counts.unchanged += 1
                continue
            counts.new += old is None
            counts.changed += old is not None
            writes.append((new, None if wants == was else wants))
            digest.update(_print(new, wants).encode())
    found.bad.sort(key=lambda bad: bad.line)
    counts.bad = len(found.bad)
    digest.update(json.dumps(asdict(counts)).encode())
    return Plan(counts, found.bad, found.warnings, found.statuspage, digest.hexdigest(), writes)


def _known(rows: list[Row], lock: bool) -> Iterator[tuple[Row, Recipient | None, Wants | None, bool]]:
    """(line, who has its address, what they want, whether it is stopped); a constant number of queries."""
    hashes = [row.hash for row in rows]
    people: dict[tuple[str, str], Recipient] = {}
    known = Recipient.objects.filter(address_hash__in=hashes).order_by("-pk")
    for person in known.select_for_update() if lock else known:
        people[person.medium, person.address_hash] = person
    wants: dict[int, set[Any]] = {}
    ids = [person.pk for person in people.values()]
    for owner, *choice in Subscription.objects.filter(recipient__in=ids).values_list(
        "recipient_id", "component_id", "group_id", "least_severity", "maintenance"
    ):
        wants.setdefault(owner, set()).add(tuple(choice))
    stopped = set(Suppression.objects.filter(address_hash__in=hashes).values_list("medium", "address_hash"))
    for row in rows:
        old = people.get((row.medium, row.hash))
        yield row, old, frozenset(wants.get(old.pk, ())) if old else None, (row.medium, row.hash) in stopped


def _merged(row: Row, old: Recipient | None, one: SubscriberImport) -> Recipient:
    """The recipient as the line wants it; consent that is there already stays as it is."""
    agreed = timezone.make_aware(datetime.combine(one.consent_on, time()))
    new = Recipient(medium=row.medium, address=row.address, address_hash=row.hash, time_zone=default_time_zone())
    if old is not None:
        new.pk, new.address, new.created_at = old.pk, old.address, old.created_at
        for name in _FIELDS:
            setattr(new, name, getattr(old, name))
    new.name = new.name if row.name is None else row.name
    new.locale = row.locale or new.locale
    new.time_zone = row.time_zone or new.time_zone
    new.attributes = dict(new.attributes)
    for key, text in row.attributes.items():
        if not text:
            new.attributes.pop(key, None)
        elif key not in new.attributes or attribute_text(new.attributes[key]) != text:
            new.attributes[key] = _several(text) if "|" in text else text
    if new.confirmed_at is None:
        new.confirmed_at, new.consent_source = agreed, one.consent_source
    return new


def _several(text: str) -> list[str]:
    return [one for part in text.split("|") if (one := part.strip())]


def attribute_text(value: Any) -> str:
    """An attribute as a cell of a file; several, as tags, with | between them."""
    if isinstance(value, list) and value and all(isinstance(one, str) and one and "|" not in one for one in value):
        return " | ".join(value)
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _differs(old: Recipient, new: Recipient) -> bool:
    return any(getattr(old, name) != getattr(new, name) for name in _FIELDS)


def _print(new: Recipient, wants: Wants | None) -> str:
    fields = [str(getattr(new, name)) for name in ("pk", "medium", "address", *_FIELDS)]
    return json.dumps([fields, sorted(map(str, wants or ()))])


class _Unknown(Exception):
    def __init__(self, column: str, name: str, fix: str) -> None:
        self.column, self.name, self.fix = column, name, fix


class _Names:
    """Components and groups by uid or by name, whatever its case."""

    def __init__(self) -> None:
        self.components = _index(Component.objects.order_by("pk").values_list("pk", "uid", "name"))
        self.groups = _index(ComponentGroup.objects.order_by("pk").values_list("pk", "uid", "name"))

    def wanted(self, row: Row, was: Wants | None) -> Wants:
        """What the line subscribes to, from what its owner wants so far. Raises _Unknown."""
        some = next(iter(was or ()), (None, None, Severity.SEV4.value, True))
        least = row.least_severity or some[2]
        maintenance = some[3] if row.maintenance is None else row.maintenance
        if row.components is None and row.groups is None and was is not None:
            return frozenset((c, g, least, maintenance) for c, g, _least, _maintenance in was)
        if row.components == [NOTHING]:
            return frozenset()
        components = [self._find("components", name, self.components) for name in row.components or ()]
        groups = [self._find("groups", name, self.groups) for name in row.groups or ()]
        targets: list[tuple[int | None, int | None]] = [(pk, None) for pk in components] + [(None, pk) for pk in groups]
        return frozenset((c, g, least, maintenance) for c, g in targets or [(None, None)])

    def _find(self, column: str, name: str, index: dict[str, int]) -> int:
        if name.casefold() not in index:
            raise _Unknown(column, name, _("There is none of this name: correct it, or create it first."))
        return index[name.casefold()]


def _index(rows: Iterable[tuple[int, str, str]]) -> dict[str, int]:
    return {key: pk for pk, uid, name in rows for key in (uid.casefold(), name.casefold())}


# ── Apply ───────────────────────────────────────────────────────────────────


def apply(one: SubscriberImport, fingerprint: str) -> Counts:
    """Do what the dry run with this fingerprint showed, all or nothing. Raises WrongState if it is no longer true."""
    changed = WrongState(
        _("Subscribers changed since this was shown. Go back, look at what it would do now, and confirm that.")
    )
    try:
        with transaction.atomic():
            me = SubscriberImport.objects.select_for_update().get(pk=one.pk)
            if me.applied_at:
                raise WrongState(_("This file was imported already."))
            now = plan(me, lock=True)
            if now.fingerprint != fingerprint:
                raise changed
            for start in range(0, len(now.writes), CHUNK):
                _write(now.writes[start : start + CHUNK])
            me.applied_at, me.content, me.counts = timezone.now(), b"", asdict(now.counts)
            me.save(update_fields=["applied_at", "content", "counts"])
    except IntegrityError:  # somebody subscribed at this moment
        raise changed from None
    return now.counts


def _write(writes: list[tuple[Recipient, Wants | None]]) -> None:
    new = [person for person, _wants in writes if person.pk is None]
    old = [person for person, _wants in writes if person.pk is not None]
    Recipient.objects.bulk_create(new)
    Recipient.objects.bulk_create(old, update_conflicts=True, unique_fields=["id"], update_fields=list(_FIELDS))
    other = [person.pk for person, wants in writes if wants is not None]
    Subscription.objects.filter(recipient__in=other).delete()
    Subscription.objects.bulk_create(
        Subscription(recipient=person, component_id=c, group_id=g, least_severity=least, maintenance=maintenance)
        for person, wants in writes
        for c, g, least, maintenance in wants or ()
    )


# ── Tell ────────────────────────────────────────────────────────────────────


def bad_rows_csv(bad: Iterable[BadRow]) -> bytes:
    """The lines that are left out, for a spreadsheet."""
    out = io.StringIO(newline="")
    writer = csv.writer(out)
    writer.writerow([_("Line"), _("Column"), _("Value"), _("What to do")])
    writer.writerows([row.line, armed(row.column), armed(row.value), armed(row.fix)] for row in bad)
    return out.getvalue().encode("utf-8-sig")


__all__ = ["BadFile", "Counts", "Plan", "apply", "attribute_text", "bad_rows_csv", "forget", "keep", "plan"]
