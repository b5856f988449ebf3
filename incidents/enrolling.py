"""Add one subscriber whom a program vouches for, and stop one: what the recipients' pages do, for a program.

Who is stopped stays stopped: only the owner of an address lifts what they asked for themselves.
"""

from collections.abc import Iterable, Mapping
from datetime import date, datetime, time
from typing import Any
from zoneinfo import available_timezones

from django.conf import settings
from django.contrib.admin.models import ADDITION, CHANGE, LogEntry
from django.contrib.contenttypes.models import ContentType
from django.db import IntegrityError, transaction
from django.utils import timezone
from django.utils.translation import gettext as _

from channels.addresses import normalise
from channels.models import Recipient, Suppression, default_time_zone
from channels.secrets import address_hash

from .errors import NotAllowed, WrongState
from .models import Component, ComponentGroup, Severity, Subscription
from .models.decision import name_of
from .models.words import one_line
from .subscriber_file import MAX_VALUE, MEDIA, RESERVED
from .writing import BadField

MOST_ATTRIBUTES = 50


def enrol(
    by: Any,
    medium: str,
    address: str,
    consent_source: str,
    consent_on: date,
    *,
    name: str = "",
    locale: str = "",
    time_zone: str = "",
    attributes: Mapping[str, Any] | None = None,
    components: Iterable[str] = (),
    groups: Iterable[str] = (),
    least_severity: str = Severity.SEV4,
    maintenance: bool = True,
) -> Recipient:
    """A confirmed subscriber, to these components and groups (uids), or to everything where none is named.

    Raises NotAllowed, WrongState (the address is known, or stopped), Refused (BadField names the field).
    """
    if not by.has_perm("channels.add_recipient"):
        raise NotAllowed(_("%(who)s may not add subscribers.") % {"who": name_of(by)})
    person = _person(medium, address, locale, time_zone)
    person.name, person.attributes = one_line(name)[:120], _attributes(attributes or {})
    person.consent_source, person.confirmed_at = _consent(consent_source, consent_on)
    chosen = _chosen(by, list(components), list(groups))
    how = {"least_severity": least_severity, "maintenance": maintenance}
    if Suppression.objects.filter(medium=medium, address_hash=person.address_hash).exists():
        raise WrongState(_("This address is stopped: nobody writes to it until its owner subscribes anew."))
    known = WrongState(_("This address is subscribed already."))
    try:
        with transaction.atomic():
            # However its letters are written.
            if Recipient.objects.filter(medium=medium, address_hash=person.address_hash).exists():
                raise known
            person.save()
            Subscription.objects.bulk_create(Subscription(recipient=person, **one, **how) for one in chosen)
            _log(by, person, ADDITION, _("Added by a program: %(source)s.") % {"source": person.consent_source})
    except IntegrityError:  # somebody subscribed at this moment
        raise known from None
    return person


def unsubscribe(by: Any, person: Recipient, detail: str = "") -> Suppression:
    """Stop the address, as its owner asked; doing it again changes nothing. Raises NotAllowed."""
    if not by.has_perm("channels.add_suppression"):
        raise NotAllowed(_("%(who)s may not stop addresses.") % {"who": name_of(by)})
    with transaction.atomic():
        stop, new = Suppression.objects.get_or_create(
            medium=person.medium,
            address_hash=person.address_hash,
            defaults={"reason": Suppression.Reason.UNSUBSCRIBED, "detail": one_line(detail)[:500]},
        )
        if new:
            _log(by, person, CHANGE, _("Unsubscribed by a program."))
    return stop


def _person(medium: str, address: str, locale: str, time_zone: str) -> Recipient:
    if medium not in MEDIA:
        raise BadField("medium", medium, _("Use one of: %(names)s.") % {"names": ", ".join(MEDIA)})
    try:
        address = normalise(medium, address)
    except ValueError as error:
        raise BadField("address", address, str(error)) from None
    if len(address) > 2000:
        raise BadField("address", address, _("It is too long."))
    locales = [code for code, _name in settings.LANGUAGES]
    locale = locale or settings.LANGUAGE_CODE
    if locale not in locales:
        raise BadField("locale", locale, _("Use one of: %(names)s.") % {"names": ", ".join(locales)})
    time_zone = time_zone or default_time_zone()
    if time_zone not in available_timezones():
        raise BadField("time_zone", time_zone, _("Write it as Europe/Rome or America/New_York."))
    hashed = address_hash(medium, address)
    return Recipient(medium=medium, address=address, address_hash=hashed, locale=locale, time_zone=time_zone)


def _attributes(given: Mapping[str, Any]) -> dict[str, Any]:
    """Texts, or lists of texts, by name."""
    if len(given) > MOST_ATTRIBUTES:
        raise BadField("attributes", len(given), _("The most are %(most)d.") % {"most": MOST_ATTRIBUTES})
    for name, value in given.items():
        texts = value if isinstance(value, list) else [value]
        if name in RESERVED or not 1 <= len(name) <= 40 or not name.isprintable():
            raise BadField("attributes", name, _("Give it another name of at most 40 characters."))
        if len(texts) > MOST_ATTRIBUTES or any(not isinstance(one, str) or len(one) > MAX_VALUE for one in texts):
            fix = _("Write a text, or a list of texts, of at most %(most)d characters.") % {"most": MAX_VALUE}
            raise BadField(f"attributes.{name}", value, fix)
    return dict(given)


def _consent(source: str, on: date) -> tuple[str, datetime]:
    if not (source := one_line(source)):
        raise BadField("consent_source", source, _("Say what allows us to write to this address."))
    if len(source) > 120:
        raise BadField("consent_source", source, _("It is too long; the most are %(most)d.") % {"most": 120})
    if not date(1900, 1, 1) <= on <= timezone.localdate():
        raise BadField("consent_on", on, _("Write the day on which they agreed."))
    return source, timezone.make_aware(datetime.combine(on, time()))


def _chosen(by: Any, components: list[str], groups: list[str]) -> list[dict[str, Any]]:
    """Whom to subscribe to; of components only those that this person may see."""
    rows: list[dict[str, Any]] = []
    seen = {one.uid: one for one in Component.objects.for_user(by).filter(uid__in=components)}
    for uid in dict.fromkeys(components):
        if uid not in seen:
            raise BadField("components", uid, _("There is no such component."))
        rows.append({"component": seen[uid]})
    known = {one.uid: one for one in ComponentGroup.objects.filter(uid__in=groups)}
    for uid in dict.fromkeys(groups):
        if uid not in known:
            raise BadField("groups", uid, _("There is no such component group."))
        rows.append({"group": known[uid]})
    return rows or [{}]


def _log(by: Any, person: Recipient, flag: int, text: str) -> None:
    LogEntry.objects.create(
        user_id=by.pk,
        content_type=ContentType.objects.get_for_model(Recipient),
        object_id=str(person.pk),
        object_repr=str(person)[:200],
        action_flag=flag,
        change_message=text,
    )
