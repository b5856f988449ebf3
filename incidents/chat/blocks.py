"""Messages as Slack lays them out. Whatever people wrote is shown as it stands: no mention, no link, no markup.

Shapes and limits as of docs.slack.dev/reference/block-kit/blocks.
"""

import re
from collections.abc import Iterable
from html import escape
from typing import Any

from django.conf import settings

MAX_SECTION = 3000  # characters of a section, counted as they are sent
MAX_HEADER = 150
PIECE = 2400  # characters of a long text in one section: most of it is not escaped

Block = dict[str, Any]


def safe(text: Any) -> str:
    """Text for a line with markup of ours: the three characters that Slack reads as control are escaped."""
    return escape(str(text), quote=False)


def linked(text: Any) -> str:
    """The same, with the portal's own addresses as links: Slack makes none by itself in what is verbatim."""
    own = re.escape(escape(settings.PORTAL_URL, quote=False))
    return re.sub(rf"{own}/[^\s<>|]*[^\s<>|.,;:!?)]", lambda found: f"<{found[0]}>", safe(text))


def link(url: str, label: Any) -> str:
    return f"<{url}|{safe(label).replace('|', '¦')}>"


def line(text: str) -> Block:
    """A section in Slack's markup; what comes from people has gone through safe()."""
    return {"type": "section", "text": {"type": "mrkdwn", "text": text[:MAX_SECTION], "verbatim": True}}


def small(text: str) -> Block:
    return {"type": "context", "elements": [{"type": "mrkdwn", "text": text[:MAX_SECTION], "verbatim": True}]}


def header(text: str) -> Block:
    shown = escape(" ".join(text.split()), quote=False)
    return {"type": "header", "text": {"type": "plain_text", "text": shown[:MAX_HEADER] or "—", "emoji": False}}


def exact(text: str) -> list[Block]:
    """Words as they were written, in as many sections as they need; nothing in them means anything."""
    return [
        {"type": "section", "text": {"type": "plain_text", "text": escape(piece, quote=False), "emoji": False}}
        for piece in pieces(text)
    ]


def pieces(text: str, size: int = PIECE) -> list[str]:
    """`text` in parts that Slack takes, divided at the end of a paragraph, else of a line, else of a word."""
    found: list[str] = []
    rest = text.strip()
    while rest:
        cut = len(rest)
        if cut > size:
            cut = next((at for mark in ("\n\n", "\n", " ") if (at := rest.rfind(mark, 1, size)) > 0), size)
        one = rest[:cut]
        if len(escape(one, quote=False)) > MAX_SECTION:  # mostly of characters that take five
            found += pieces(one, size // 2)
        else:
            found.append(one)
        rest = rest[cut:].strip()
    return found


def button(action: str, label: Any, value: str = "", url: str = "", style: str = "", confirm: Any = None) -> Block:
    one: Block = {
        "type": "button",
        "action_id": action,
        "text": {"type": "plain_text", "text": str(label)[:75], "emoji": False},
    }
    one |= {"value": value} if value else {}
    one |= {"url": url} if url else {}
    one |= {"style": style} if style else {}
    return one | ({"confirm": confirm} if confirm else {})


def confirm(title: Any, text: Any, yes: Any, no: Any) -> Block:
    """What is asked before a click counts."""

    def plain(words: Any, most: int) -> Block:
        return {"type": "plain_text", "text": escape(str(words), quote=False)[:most], "emoji": False}

    return {"title": plain(title, 100), "text": plain(text, 300), "confirm": plain(yes, 30), "deny": plain(no, 30)}


def buttons(*elements: Block) -> Block:
    return {"type": "actions", "elements": list(elements)}


def message(blocks: Iterable[Block], text: str) -> Block:
    """`text` is what notifications show; like a line, it has gone through safe()."""
    return {
        "text": text[:3000],
        "blocks": list(blocks),
        "link_names": False,
        "unfurl_links": False,
        "unfurl_media": False,
    }
