"""Who is written to, and what: the same for the engine, the anchors and the peers."""

from collections.abc import Iterator

SUBJECT = "Card payments: partial outage"
TEXT = """Hello [[name]],

Payments by card fail for about one customer in five since 09:12 (Rome time). Customers who meet the error are not
charged. Our engineers have found the cause and are putting the previous version back.

Please try again later; do not pay twice. The next update comes by 10:30.

Status page: https://status.example.com/incidents/9f3kabcd/
Unsubscribe: [[unsubscribe_url]]
"""
_ROW = "<tr><td style='padding:8px 24px;font:16px/24px sans-serif;color:#1b2b30'>%s</td></tr>\n"
HTML = (
    "<!doctype html><html lang='en'><body style='margin:0;background:#f2f5f6'><table role='presentation'>\n"
    + "".join(_ROW % part for part in TEXT.split("\n\n"))
    + _ROW % "<a href='[[unsubscribe_url]]'>Unsubscribe</a>" * 4
    + "</table></body></html>\n"
)
SENDER = "status@example.com"


def address(number: int) -> str:
    return f"customer{number}@example.com"


def name(number: int) -> str:
    return f"Customer {number}"


def unsubscribe_url(number: int) -> str:
    """As long as the portal's own."""
    return f"https://status.example.com/unsubscribe/{number}:1wXyZa:{'s' * 43}/"


def filled(text: str, number: int) -> str:
    return text.replace("[[name]]", name(number)).replace("[[unsubscribe_url]]", unsubscribe_url(number))


def people(count: int) -> Iterator[tuple[str, str]]:
    """(address, name) of each."""
    return ((address(n), name(n)) for n in range(count))
