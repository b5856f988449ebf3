"""Recipients as a CSV file that subscriber_import reads back without changing anything."""

import csv
from collections.abc import Iterator

from django.db.models import Prefetch, QuerySet

from channels.models import Recipient
from commsportal.spreadsheet import armed

from .models import Subscription
from .subscriber_file import NOTHING, OURS, is_key
from .subscriber_import import attribute_text

CHUNK = 2000


class _Line:
    """A file to write to that hands back what it is given."""

    def write(self, text: str) -> str:
        return text


def keys(people: QuerySet[Recipient]) -> list[str]:
    """The attributes that have a column: all that an import would take, in order of the alphabet.

    What providers need of an address, such as the keys of a browser, is not among them.
    """
    found: set[str] = set()
    for attributes in people.order_by().exclude(attributes={}).values_list("attributes", flat=True).iterator(CHUNK):
        found.update(attributes)
    unlike = {key.lower(): key for key in sorted(found, reverse=True) if is_key(key)}
    return sorted(unlike.values())


def lines(people: QuerySet[Recipient]) -> Iterator[bytes]:
    """The file, a chunk of people at a time; UTF-8 with a byte order mark. Cells are inert in a spreadsheet."""
    attributes = keys(people)
    writer = csv.writer(_Line())
    yield "\ufeff".encode()
    yield writer.writerow([*OURS, *attributes]).encode()  # type: ignore[attr-defined]
    chosen = Subscription.objects.select_related("component", "group").order_by("pk")
    for person in people.prefetch_related(Prefetch("subscriptions", chosen)).iterator(CHUNK):
        cells = [*_ours(person), *(_attribute(person, key) for key in attributes)]
        yield writer.writerow([armed(cell) for cell in cells]).encode()  # type: ignore[attr-defined]


def _attribute(person: Recipient, key: str) -> str:
    value = person.attributes.get(key)
    return "" if value is None else attribute_text(value)


def _ours(person: Recipient) -> list[str]:
    subscriptions = list(person.subscriptions.all())
    components = [
        one.component.uid if "|" in one.component.name else one.component.name for one in subscriptions if one.component
    ]
    groups = [one.group.uid if "|" in one.group.name else one.group.name for one in subscriptions if one.group]
    everything = any(one.component is None and one.group is None for one in subscriptions)
    first = subscriptions[0] if subscriptions else None
    return [
        person.medium,
        person.address,
        person.name,
        person.locale,
        person.time_zone,
        ("" if everything else "|".join(components)) if subscriptions else NOTHING,
        "" if everything else "|".join(groups),
        first.least_severity if first else "",
        ("yes" if first.maintenance else "no") if first else "",
    ]
