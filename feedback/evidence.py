"""What the portal knows of one incident, as files for somebody who has to prove it: an auditor, a customer, a court.

Everything is read from the database anew, as of one moment. What was approved stands in the pack as the very bytes
that were hashed: the SHA-256 of updates/*/approved.json is the content hash that people approved. Drafts are left out,
and of recipients only keyed hashes are in it, unless somebody who may asks for addresses. Formats are for programs, and
so in one language; README.txt is in that of whoever takes the pack.
"""

import csv
import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

from django.conf import settings
from django.db.models import OuterRef, Subquery
from django.utils import timezone
from django.utils.text import slugify

from channels.models import Delivery, Dispatch, Picture, Recipient
from commsportal.one_moment import one_moment
from commsportal.spreadsheet import inert
from incidents import publishing
from incidents.models import Decision, Incident, IncidentUpdate, RunbookRun
from incidents.models.decision import name_of

from . import people, practice, reports, sealing
from .models.evidence import EvidenceKey, EvidencePack
from .models.review import CommunicationReview
from .sealing import File, plain_json

SCHEMA = {"schema": "commsportal-evidence", "version": 1}
FROZEN = (IncidentUpdate.Status.APPROVED, IncidentUpdate.Status.PUBLISHED)
CHUNK = 2000  # rows at a time


def stream(pack: EvidencePack) -> Iterator[bytes]:
    """The pack as a signed ZIP, piece by piece; at its end `pack` is noted as complete."""
    key = EvidenceKey.current()
    readme = practice.readme(pack).encode()  # now: while the pieces are asked for, the language may be another
    head = {**SCHEMA, "pack": pack.pk, "portal": {"name": settings.PORTAL_NAME, "url": settings.PORTAL_URL}}
    head |= {"made_at": _time(pack.at), "made_by": _person(pack.by), "addresses": pack.addresses}
    return _stream(pack, key, head, readme)


def _stream(pack: EvidencePack, key: EvidenceKey, head: dict[str, Any], readme: bytes) -> Iterator[bytes]:
    done = sealing.Sealed()
    with one_moment():
        incident = Incident.objects.select_related("plan_version").get(pk=pack.incident_id)
        head["incident"] = {"id": incident.uid, "title": incident.title}
        files = _files(incident, pack.addresses, readme)
        yield from sealing.seal(files, head, key.signer(), done)
    EvidencePack.objects.filter(pk=pack.pk, finished_at=None).update(
        finished_at=timezone.now(), size=done.size, manifest_sha256=done.manifest_sha256
    )


def _files(incident: Incident, addresses: bool, readme: bytes) -> Iterator[File]:
    yield File("README.txt", [readme], "what stands where, in plain words")
    yield File("practice.json", [plain_json(practice.STEPS)], "which file speaks to which step of AWS OPS10-BP05")
    yield File(
        "incident.json", [plain_json(_incident(incident))], "the incident, its roles and its plan as it was then"
    )
    yield File(
        "timeline.csv", _csv(TIMELINE, _timeline(incident)), "who wrote, asked, approved and published, and when"
    )
    yield from _updates(incident)
    yield from _messages(incident)
    counts: Counter[tuple[int, str]] = Counter()
    header = [*DELIVERIES, *(ADDRESSES if addresses else ())]
    yield File("deliveries.csv", _csv(header, _deliveries(incident, addresses, counts)), "one line for each recipient")
    yield File("counts.csv", _csv(COUNTS, _counts(incident, counts)), "the lines of deliveries.csv, counted")
    figures, survey = _figures(incident)
    yield File("figures.json", [plain_json(figures)], "the figures of the report; durations are seconds")
    yield File("survey.json", [plain_json(survey)], "what the survey said, in numbers")
    yield File("runbooks.json", [plain_json(_runbooks(incident))], "each run of a runbook, step by step")
    if review := _review(incident):
        yield File(
            "communication-review.json", [plain_json(review)], "the review of the communication, as it was finished"
        )


# ── How things are written ──────────────────────────────────────────────────


class _Line:
    """A file to write to that hands back what it is given."""

    def write(self, text: str) -> str:
        return text


def _csv(header: list[str], rows: Iterator[list[Any]]) -> Iterator[bytes]:
    """UTF-8 with a byte order mark; no cell is a formula."""
    writer = csv.writer(_Line())
    yield "\ufeff".encode()
    yield writer.writerow(header).encode()  # type: ignore[attr-defined]
    for row in rows:
        yield writer.writerow([_cell(one) for one in row]).encode()  # type: ignore[attr-defined]


def _cell(value: Any) -> str:
    if isinstance(value, datetime):
        return _time(value) or ""
    return "" if value is None else str(value) if isinstance(value, int) else inert(str(value))


def _time(at: datetime | None) -> str | None:
    return at.astimezone(UTC).isoformat() if at else None


def _person(user: Any) -> dict[str, str] | None:
    return {"login": user.get_username(), "name": name_of(user)} if user else None


# ── The incident and its story ──────────────────────────────────────────────

TIMELINE = ["at", "what", "by", "name", "update", "comment", "content_hash"]


def _incident(incident: Incident) -> dict[str, Any]:
    version = incident.plan_version
    hit = incident.incident_components.select_related("component").order_by("component__position", "id")
    roles = incident.roles.select_related("user").order_by("role")
    return {
        "id": incident.uid,
        "title": incident.title,
        "severity": incident.severity,
        "stage": incident.stage,
        "maintenance": incident.maintenance,
        "imported_from": incident.imported_from,
        "started_at": _time(incident.started_at),
        "declared_at": None if incident.imported_from else _time(incident.declared_at),
        "declared_by": _person(incident.declared_by),
        "published_at": _time(incident.published_at),
        "resolved_at": _time(incident.resolved_at),
        "components": [{"id": one.component.uid, "name": one.component.name, "state": one.status} for one in hit],
        "roles": [{"role": one.role, "who": _person(one.user)} for one in roles],
        "plan": {"version": version.number, "content": version.content} if version else None,
    }


def _timeline(incident: Incident) -> Iterator[list[Any]]:
    """Every decision and every broken promise, oldest first."""
    rows: list[tuple[datetime, list[Any]]] = []
    for one in Decision.objects.filter(incident=incident).select_related("by", "update").order_by("at", "id"):
        by, number = one.by.get_username(), one.update.number if one.update else None
        rows.append((one.at, [one.at, one.verb, by, name_of(one.by), number, one.comment, one.content_hash]))
    for breach in incident.breaches.order_by("due_at", "id"):
        rows.append((breach.due_at, [breach.due_at, "promise_broken", "", "", None, breach.kind, ""]))
    rows.sort(key=lambda row: row[0])
    return iter(row for _at, row in rows)


def _updates(incident: Incident) -> Iterator[File]:
    """Each update that was approved, with the frozen content as it was hashed."""
    pictures: set[str] = set()
    found = incident.updates.filter(status__in=FROZEN).select_related("author", "approved_by", "published_by")
    for one in found.order_by("number"):
        folder = f"updates/{one.number:02}"
        yield File(
            f"{folder}/update.json", [plain_json(_update(one))], f"update {one.number}: who, when and its hashes"
        )
        if one.manifest:
            content = canonical(one.manifest)
            yield File(f"{folder}/approved.json", [content], f"update {one.number}, exactly as it was approved")
            pictures |= {page["picture"]["sha256"] for page in one.page.values() if "picture" in page}
    for picture in Picture.objects.filter(pk__in=sorted(pictures)):
        yield File(f"pictures/{picture.filename}", [bytes(picture.content)], "a picture, named after its SHA-256")


def canonical(manifest: dict[str, Any]) -> bytes:
    """The bytes of a frozen manifest whose SHA-256 is its hash: as publishing.manifest_hash writes them."""
    return json.dumps(manifest, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def _update(one: IncidentUpdate) -> dict[str, Any]:
    recomputed = publishing.manifest_hash(one.manifest) if one.manifest else None
    queued = publishing.sent_hash(one) if one.manifest and one.status == IncidentUpdate.Status.PUBLISHED else None
    return {
        "number": one.number,
        "stage": one.stage,
        "status": one.status,
        "imported": one.imported,
        "author": _person(one.author),
        "approved_by": _person(one.approved_by),
        "approved_at": _time(one.approved_at),
        "approved_for": one.approved_count,
        "without_second_person": one.waiver,
        "published_by": _person(one.published_by),
        "published_at": _time(one.published_at),
        "content_hash": one.content_hash or None,
        "approved_hash": one.approved_hash or None,
        "recomputed_hash": recomputed,
        "queued_hash": queued,
        "matches": None if recomputed is None else recomputed == one.content_hash == one.approved_hash,
        "queued_as_approved": None if queued is None else queued == one.approved_hash,
    }


def _dispatches(incident: Incident) -> list[Dispatch]:
    found = Dispatch.objects.filter(thread=incident.thread).defer("content")
    return list(found.select_related("channel", "via").order_by("id"))


def _numbers(incident: Incident) -> dict[str, int]:
    """Number of the update by what its dispatches call their source."""
    return {f"update:{pk}": number for pk, number in incident.updates.values_list("pk", "number")}


def _messages(incident: Incident) -> Iterator[File]:
    """What each channel carried, in each language."""
    numbers = _numbers(incident)
    for one in _dispatches(incident):
        content = Dispatch.objects.values_list("content", flat=True).get(pk=one.pk)
        number = numbers.get(one.source, 0)
        message = {
            "dispatch": one.pk,
            "update": number,
            "purpose": one.purpose,
            "channel": one.channel.name,
            "provider": one.channel.provider,
            "went_through": one.via.name,
            "language": one.locale,
            "approved_hash": one.approved_hash,
            "audience": one.audience,
            "queued_at": _time(one.created_at),
            "stopped_at": _time(one.cancelled_at),
            "content": content,
        }
        name = "-".join(part for part in (str(one.pk), slugify(one.channel.name), one.locale, one.purpose) if part)
        about = f"update {number} as {one.channel.name} carried it ({one.locale}, {one.purpose})"
        yield File(f"messages/{number:02}/{name}.json", [plain_json(message)], about)


# ── Who received it ─────────────────────────────────────────────────────────

DELIVERIES = ["dispatch", "update", "purpose", "channel", "language", "recipient", "status", "reason", "attempts", "at"]
DELIVERIES += ["provider_reference"]
ADDRESSES = ["medium", "address", "detail"]
COUNTS = ["dispatch", "update", "purpose", "channel", "language", "status", "deliveries"]


def _deliveries(incident: Incident, addresses: bool, counts: Counter[tuple[int, str]]) -> Iterator[list[Any]]:
    """One row for each recipient of each message, read in chunks; `counts` is filled in on the way.

    The recipient is a keyed hash: the same for one address everywhere, and nobody can work back from it without the
    portal's key. What a provider said in words is left out by default, because it may quote the address.
    """
    numbers = _numbers(incident)
    person = Recipient.objects.filter(pk=OuterRef("recipient_id"))  # no join: an erased person's row stays
    columns = {"hash": "address_hash", "_medium": "medium", "_address": "address"}
    wanted = columns if addresses else {"hash": "address_hash"}
    found = {name: Subquery(person.values(column)[:1]) for name, column in wanted.items()}
    for one in _dispatches(incident):
        said = [one.pk, numbers.get(one.source), one.purpose, one.channel.name, one.locale]
        rows = Delivery.objects.filter(dispatch=one).annotate(**found).order_by("id")
        names = ["hash", "status", "code", "attempts", "at", "provider_ref"]
        names += ["_medium", "_address", "detail"] if addresses else []
        for who, status, code, attempts, at, reference, *rest in rows.values_list(*names).iterator(CHUNK):
            counts[one.pk, status] += 1
            if rest:
                rest = [rest[0] or "", rest[1] or "", one.via.mask(rest[2])]
            yield [*said, who or "erased", status, code, attempts, at, reference, *rest]


def _counts(incident: Incident, counts: Counter[tuple[int, str]]) -> Iterator[list[Any]]:
    """After _deliveries: it counted."""
    numbers = _numbers(incident)
    for one in _dispatches(incident):
        said = [one.pk, numbers.get(one.source), one.purpose, one.channel.name, one.locale]
        yield from ([*said, status, counts[one.pk, status]] for status in Delivery.Status.values)


# ── How well ────────────────────────────────────────────────────────────────


def _figures(incident: Incident) -> tuple[dict[str, Any], dict[str, Any]]:
    """The report's figures, and the survey's."""
    [one] = reports.gather(Incident.objects.filter(pk=incident.pk))
    figures = asdict(one)
    survey = figures.pop("survey")
    if one.aware:
        del figures["aware"]["buckets"]  # how they are added up
    derived = ("first_from_start", "first_from_declared", "due", "late", "cadence", "longest_gap", "duration", "waited")
    reached, written = people.count_now(incident)
    figures |= {name: getattr(one, name) for name in derived}
    figures |= {
        "expectation": asdict(one.expectation) if one.expectation else None,
        "people_reached": reached,
        "people_written_to": written,
        "reach": {**asdict(one.reach), "total": one.reach.total, "rate": one.reach.rate},
    }
    return figures, {**survey, "rate": one.survey.rate, "means": one.survey.means, "scale": "1 (no) to 5 (yes)"}


def _review(incident: Incident) -> dict[str, Any] | None:
    """The review, if somebody finished it: a draft is nobody's word yet."""
    finished = CommunicationReview.objects.filter(incident=incident, state=CommunicationReview.State.FINAL)
    one = finished.select_related("finished_by", "update").first()
    if one is None:
        return None
    return {
        "language": one.locale,
        "finished_by": _person(one.finished_by),
        "finished_at": _time(one.finished_at),
        "written_by": [_person(user) for user in one.writers()],
        "texts": one.texts,
        "drafted": one.drafted,
        "for_customers": one.shown,
        "published_as_update": one.update.number if one.update and one.is_published else None,
    }


def _runbooks(incident: Incident) -> list[dict[str, Any]]:
    runs = RunbookRun.objects.filter(incident=incident).select_related("by").prefetch_related("log__by").order_by("id")
    return [
        {
            "runbook": str(run),
            "started_by": run.trigger or "hand",
            "in_the_name_of": _person(run.by),
            "state": run.state,
            "reason": run.reason,
            "started_at": _time(run.started_at),
            "finished_at": _time(run.finished_at),
            "steps": [
                {
                    "number": one.index + 1,
                    "kind": run.steps[one.index]["kind"],
                    "name": run.steps[one.index].get("name", ""),
                    "state": one.state,
                    "began_at": _time(one.began_at),
                    "ended_at": _time(one.ended_at),
                    "tries": one.tries,
                    "note": one.note,
                    "by": _person(one.by),
                }
                for one in run.log.all()
            ],
        }
        for run in runs
    ]
