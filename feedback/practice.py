"""The steps of AWS Well-Architected OPS10-BP05, in our words, and where an evidence pack speaks to each."""

from datetime import UTC
from typing import TYPE_CHECKING, Any

from django.conf import settings
from django.utils.translation import gettext as _
from django.utils.translation import gettext_noop

from incidents.models.decision import name_of

if TYPE_CHECKING:
    from .models.evidence import EvidencePack

SOURCE = "https://docs.aws.amazon.com/wellarchitected/latest/operational-excellence-pillar/ops_event_response_push_notify.html"
# The name of each implementation step, what the pack shows of it, and in which files. In English, as the practice is;
# README.txt translates it.
STEPS: dict[str, Any] = {
    "practice": "OPS10-BP05",
    "source": SOURCE,
    "steps": [
        {
            "step": 1,
            "name": gettext_noop("Define roles and responsibilities"),
            "shows": gettext_noop(
                "Who led the incident, who was responsible for its communication and for support, as the plan named "
                "them; and what each of them did."
            ),
            "files": ["incident.json", "timeline.csv"],
        },
        {
            "step": 2,
            "name": gettext_noop("Identify communication channels"),
            "shows": gettext_noop("Which channels the plan chose, and by which ones each message really went."),
            "files": ["incident.json", "messages/", "counts.csv"],
        },
        {
            "step": 3,
            "name": gettext_noop("Communicate quickly, clearly and regularly to customers"),
            "shows": gettext_noop(
                "Every word that customers were told, on each channel and in each language; when, against what was "
                "promised; and what became of the message to each recipient."
            ),
            "files": ["updates/", "messages/", "pictures/", "deliveries.csv", "counts.csv", "figures.json"],
        },
        {
            "step": 4,
            "name": gettext_noop("Coordinate internal communication"),
            "shows": gettext_noop("The steps that people took, in their order, with what they noted for each other."),
            "files": ["timeline.csv", "runbooks.json"],
        },
        {
            "step": 5,
            "name": gettext_noop("Orchestrate communication with dedicated tools and services"),
            "shows": gettext_noop(
                "What runbooks did, step by step; and that each message was approved by a second person, or who "
                "answered for it where it was not, and that exactly what was approved was sent."
            ),
            "files": ["runbooks.json", "updates/", "timeline.csv"],
        },
        {
            "step": 6,
            "name": gettext_noop("Practice and improve"),
            "shows": gettext_noop(
                "The figures by which the communication is judged, promises that were broken, and what customers "
                "answered."
            ),
            "files": ["figures.json", "survey.json", "communication-review.json"],
        },
    ],
}


def readme(pack: "EvidencePack") -> str:
    """README.txt, in the active language."""
    words = {
        "title": pack.incident.title,
        "portal": settings.PORTAL_NAME,
        "when": f"{pack.at.astimezone(UTC):%Y-%m-%d %H:%M} UTC",
        "who": name_of(pack.by),
    }
    lines = [
        _("Evidence of how customers were told of an incident"),
        _("“%(title)s”, as %(portal)s knew it on %(when)s; taken by %(who)s.") % words,
        "",
        _("Recipients stand in it with their addresses: treat it as personal data.")
        if pack.addresses
        else _(
            "Recipients stand in it as keyed hashes: the same one for the same address, but nobody can tell the "
            "address from it without a key that stays in the portal."
        ),
        "",
        _("What stands where"),
        *(f"  {path:<28} {about}" for path, about in _contents().items()),
        "",
        _("Step by step of the practice AWS Well-Architected OPS10-BP05"),
        f"  {SOURCE}",
    ]
    for one in STEPS["steps"]:
        lines += [
            "",
            f"  {one['step']}. {_(one['name'])}",
            f"     {_(one['shows'])}",
            f"     → {', '.join(one['files'])}",
        ]
    lines += [
        "",
        _("How to see that nothing was changed"),
        "  " + _("In the portal: manage.py verify_evidence FILE"),
        "  " + _("Without it, where OpenSSL 3 is there, in the unpacked folder:"),
        "    openssl pkeyutl -verify -pubin -inkey signing-key.pem -rawin -in manifest.json -sigfile manifest.json.sig",
        "    sha256sum FILE…",
        "  "
        + _(
            "Then compare the sums with manifest.json, and the key with the one that the portal shows to "
            "administrators: a forger would sign with a key of their own."
        ),
        "",
    ]
    return "\n".join(lines)


def _contents() -> dict[str, str]:
    return {
        "incident.json": _("the incident, its components and roles, and its plan as it was then"),
        "timeline.csv": _("who wrote, asked, approved, sent back, broke the glass and published, and when"),
        "updates/NN/approved.json": _("an update exactly as it was approved; its SHA-256 is the content hash"),
        "updates/NN/update.json": _("who approved and published it, and whether the hashes match"),
        "pictures/": _("pictures, named after their SHA-256"),
        "messages/NN/": _("each message as a channel carried it, by language"),
        "deliveries.csv": _("what became of each message to each recipient"),
        "counts.csv": _("the same, counted"),
        "figures.json": _("the figures of the report; durations are seconds"),
        "survey.json": _("what the survey said, in numbers"),
        "runbooks.json": _("what runbooks did, step by step"),
        "communication-review.json": _("the review of the communication, if it is finished"),
        "practice.json": _("the steps of the practice and their files, for programs"),
        "manifest.json": _("every file with its SHA-256; signed in manifest.json.sig"),
    }
