"""Adaptive Cards as the Bot Connector takes them. Whatever people wrote is shown as it stands.

Shapes as of adaptivecards.io, version 1.4. Text runs show what they are given: a TextBlock or a FactSet would read
Markdown and {{DATE()}} in it.
"""

import json
from typing import Any

from django.utils.translation import gettext as _

from .room import Entry

MAX_BYTES = 20 * 1024  # Teams takes about 28 KB as it counts, and 100 KB of a bot: the margin is for what it adds
CARD = "application/vnd.microsoft.card.adaptive"


def activity(entry: Entry, key: str) -> dict[str, Any]:
    """An entry as a message. `key` travels along, so that it is found again. What is too long says so at its end."""
    words = entry.text.strip()
    found = _activity(entry, words, key)
    rest = _("This is not all of it: read the rest in the portal.")
    while len(json.dumps(found, ensure_ascii=False).encode()) > MAX_BYTES and words:
        words = words[: len(words) * 3 // 4].rsplit(None, 1)[0] if len(words) > 40 else ""
        found = _activity(entry, f"{words} …\n\n{rest}", key)
    return found


def _activity(entry: Entry, words: str, key: str) -> dict[str, Any]:
    card = {
        "$schema": "http://adaptivecards.io/schemas/adaptive-card.json",
        "type": "AdaptiveCard",
        "version": "1.4",
        "msteams": {"width": "Full"},
        "body": _body(entry, words, key),
        "actions": [
            {"type": "Action.OpenUrl", "title": str(label), "url": address} for address, label in entry.links if address
        ],
    }
    return {
        "type": "message",
        "summary": entry.short[:200],
        "attachments": [{"contentType": CARD, "content": card}],
    }


def _body(entry: Entry, words: str, key: str) -> list[dict[str, Any]]:
    blocks = [_block({"text": entry.lead, "isSubtle": True})] if entry.lead.strip() else []
    title = " ".join(entry.title.split()) or "—"
    blocks.append({**_block({"text": title, "size": "Large", "weight": "Bolder"}), "id": key})
    for label, value in entry.facts:
        blocks.append(_block({"text": f"{label}: ", "weight": "Bolder"}, {"text": " ".join(str(value).split()) or "—"}))
    for paragraph in words.split("\n\n"):
        # A line break inside of a run is lost in some clients: each line is a block.
        for n, line in enumerate(filter(str.strip, paragraph.splitlines())):
            blocks.append({**_block({"text": line}), "spacing": "None" if n else "Medium"})
    if entry.note:
        blocks.append(_block({"text": entry.note, "isSubtle": True, "size": "Small"}))
    return blocks


def _block(*runs: dict[str, Any]) -> dict[str, Any]:
    return {"type": "RichTextBlock", "inlines": [{"type": "TextRun", **run} for run in runs]}
