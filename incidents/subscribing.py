"""Subscribing by oneself: asked for on the status page, limited, confirmed by the address's owner, changed later.

Whoever asks learns nothing: the answer is the same and takes the same work whether an address is known or not.
"""

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from django.conf import settings
from django.core import signing
from django.db import transaction
from django.db.models import F, Q, QuerySet
from django.utils import timezone

from channels import links, own_secrets, queue
from channels.models import Medium, Recipient, Suppression
from channels.secrets import address_hash, network_hash

from .models import Component, ComponentGroup, Severity, StatusPage, Subscription, SubscriptionRequest

CONFIRM_SALT = "incidents.confirm"
# Kinds of address that people type, and whose owner can read a link and open it. A browser gives its own.
MEDIA = (Medium.EMAIL, Medium.SMS, Medium.SLACK, Medium.TEAMS, Medium.WEBHOOK)
# So many wait for a worker: no more are put on the queue, which incidents need as well. The sweep finds the rest.
ENOUGH = 20
KEEP_UNCONFIRMED = timedelta(days=30)
KEEP_LIMITED = timedelta(days=1)
Outcome = SubscriptionRequest.Outcome


class NoRequest(Exception):
    """The link was never made by us, or not whole. HTTP 404."""


class Gone(Exception):
    """The link was good once; its time is over, or what it was about is erased. HTTP 410."""


# ── Ask ─────────────────────────────────────────────────────────────────────


def ask(
    medium: str,
    address: str,
    wanted: Mapping[str, Any],
    locale: str,
    time_zone: str,
    wording: tuple[str, str],
    network: str,
) -> SubscriptionRequest:
    """Keep a request and have a worker ask the address. Nothing is looked up of the address itself.

    `address` is normalised; `wanted` as in SubscriptionRequest, of a browser with its "keys"; `wording` is (the
    sentence shown, its language); `network` is where the reader sits. Over a limit nothing will be sent, and the
    address is not kept.
    """
    one = SubscriptionRequest(
        medium=medium,
        address=address,
        address_hash=address_hash(medium, address),
        domain=domain_of(medium, address),
        ip_hash=network_hash(network),
        wanted=dict(wanted),
        locale=locale,
        time_zone=time_zone,
        wording=wording[0],
        wording_locale=wording[1],
    )
    limited = over_limit(one)
    waiting = SubscriptionRequest.objects.filter(outcome=Outcome.WAITING)[:ENOUGH].count()
    if limited:
        one.outcome, one.address = Outcome.LIMITED, ""
    with transaction.atomic():
        one.save()
        if not limited and waiting < ENOUGH:
            queue.enqueue("incidents.tasks.confirm", one.pk)
    return one


def domain_of(medium: str, address: str) -> str:
    """Whose servers or lines many requests at once would hit: a mail domain, a host, a block of 10,000 numbers."""
    if medium == Medium.EMAIL:
        return address.rpartition("@")[2].lower()[:255]
    if medium == Medium.SMS:
        return address[:-4]
    return address.partition("://")[2].partition("/")[0].partition(":")[0].lower()[:255]


def over_limit(one: SubscriptionRequest) -> bool:
    """Whether too many were asked for before, by address, by network or by domain. In the database, which all share.

    Of a domain only those count that nobody has confirmed: a real rush of customers at one mail provider confirms,
    and so makes room for the next, while addresses that somebody else typed in never do.
    """
    now = timezone.now()
    before = SubscriptionRequest.objects.exclude(outcome=Outcome.LIMITED)
    if one.pk:
        before = before.filter(pk__lt=one.pk)
    hour = before.filter(created_at__gt=now - timedelta(hours=1))
    counts = [
        (before.filter(address_hash=one.address_hash, created_at__gt=now - timedelta(days=1)), "ADDRESS_PER_DAY"),
        (hour.filter(ip_hash=one.ip_hash), "NETWORK_PER_HOUR"),
        (hour.filter(domain=one.domain, confirmed_at__isnull=True), "DOMAIN_PER_HOUR"),
    ]
    # All are counted whatever the first says: how long it takes tells nothing.
    return any([_reaches(rows, getattr(settings, f"SUBSCRIBE_{name}")) for rows, name in counts])  # noqa: C419


def _reaches(rows: Any, limit: int) -> bool:
    return rows.order_by()[:limit].count() >= limit


# ── Confirm ─────────────────────────────────────────────────────────────────


def confirm_url(one: SubscriptionRequest) -> str:
    return f"{settings.PORTAL_URL}/subscribe/confirm/{links.signed(CONFIRM_SALT, one.pk)}/"


def read(token: str) -> SubscriptionRequest:
    """The request behind a confirmation link, open or confirmed. Raises NoRequest or Gone."""
    one = SubscriptionRequest.objects.filter(pk=_key(token, CONFIRM_SALT)).first()
    if one is None or not (one.is_open or one.confirmed_at):
        raise Gone
    return one


def _key(token: str, salt: str) -> int:
    try:
        key = signing.loads(token, salt=salt)
    except (signing.BadSignature, ValueError):
        raise NoRequest from None
    if not isinstance(key, int):
        raise NoRequest
    return key


def confirm(one: SubscriptionRequest) -> Recipient:
    """The owner of the address says yes. Doing it again changes nothing. Raises Gone."""
    with transaction.atomic():
        me = SubscriptionRequest.objects.select_for_update().filter(pk=one.pk).first()
        if me is None or not (me.is_open or me.confirmed_at):
            raise Gone
        person = recipient_of(me)
        if me.confirmed_at:
            if person is None:
                raise Gone
            return person
        wanted = agreed_to(me)
        if person is None:
            person, _created = Recipient.objects.get_or_create(medium=me.medium, address=me.address)
        if me.medium == Medium.WEBHOOK and not person.confirmed_at:
            person.signing = own_secrets.begun()
        me.confirmed_at = person.confirmed_at = timezone.now()
        person.consent_source = f"Status page, request {me.pk}"
        person.locale, person.time_zone = me.locale, me.time_zone
        person.attributes |= me.wanted.pop("keys", {})
        person.save()
        lifted = _lift(me)
        if "page" in wanted:
            _subscribe_to_page(person, wanted, anew=bool(lifted))
        else:
            _subscribe(person, wanted)
        me.wanted |= lifted
        me.address = ""
        me.save(update_fields=["confirmed_at", "address", "wanted"])
        _close(person, _of_same_page(me).filter(pk__lt=me.pk))
    return person


def agreed_to(one: SubscriptionRequest) -> Mapping[str, Any]:
    """What a yes brings now. Raises Gone if it was asked for on a private page that would not let the reader in any
    more, or that shows nothing of it any more.
    """
    page = _page(one.wanted)
    if page is None:
        return one.wanted
    left = list(page.components.filter(pk__in=one.wanted["components"]).values_list("pk", flat=True))
    if not left:
        raise Gone
    return {**one.wanted, "components": left}


def _of_same_page(one: SubscriptionRequest) -> QuerySet[SubscriptionRequest]:
    """Of the public page, or of one private page: requests on another one say nothing of what was chosen here."""
    if "page" in one.wanted:
        return SubscriptionRequest.objects.filter(wanted__page=one.wanted["page"])
    return SubscriptionRequest.objects.exclude(wanted__has_key="page")


def _lift(one: SubscriptionRequest) -> dict[str, Any]:
    """Lift what the owner of the address asked for, by unsubscribing, by STOP or by being erased; for the record.

    Whoever bounced or complained, or was stopped by staff, is none of a form's business.
    """
    own = Suppression.objects.filter(
        medium=one.medium, address_hash=one.address_hash, reason=Suppression.Reason.UNSUBSCRIBED
    )
    stop = own.select_for_update().first()
    if stop is None:
        return {}
    stop.delete()
    return {"lifted": {"reason": stop.reason, "detail": stop.detail, "since": stop.created_at.isoformat()}}


def _close(person: Recipient, requests: QuerySet[SubscriptionRequest]) -> None:
    """What the owner of the address decided since stands: the links of earlier requests must not undo it."""
    mine = requests.filter(medium=person.medium, address_hash=person.address_hash, confirmed_at__isnull=True)
    # What waits yet to be sent tells a subscriber that they are one; of a private page it would ask for a yes again.
    waiting = mine.filter(outcome=Outcome.WAITING)
    waiting.filter(wanted__has_key="page").update(outcome=Outcome.FAILED, address="")
    mine.exclude(outcome=Outcome.WAITING).update(address="")


def recipient_of(one: SubscriptionRequest) -> Recipient | None:
    """Who has this address already, however its letters are written."""
    return Recipient.objects.filter(medium=one.medium, address_hash=one.address_hash).order_by("pk").first()


# ── Change ──────────────────────────────────────────────────────────────────


def subscriber(token: str) -> Recipient:
    """The confirmed recipient behind the link of the page where they change their choice. Raises NoRequest or Gone."""
    person = Recipient.objects.filter(
        pk=_key(token, links.MANAGE_SALT), medium__in=Medium, confirmed_at__isnull=False
    ).first()
    if person is None:
        raise Gone
    return person


def change(person: Recipient, wanted: Mapping[str, Any], locale: str, time_zone: str) -> None:
    """Hear about something else, or in another language or time zone."""
    with transaction.atomic():
        me = Recipient.objects.select_for_update().get(pk=person.pk)
        me.locale, me.time_zone = locale, time_zone
        me.save(update_fields=["locale", "time_zone", "address_hash"])
        if "own" in wanted:
            _change_private(me, wanted)
        _subscribe(me, wanted)
        _close(me, SubscriptionRequest.objects.all())


def wanted_by(person: Recipient) -> dict[str, Any]:
    """What they hear about, as in SubscriptionRequest.wanted, with "nothing" where they have no subscription at all."""
    rows = list(person.subscriptions.order_by(F("component__private").asc(nulls_first=True), "pk"))
    everything = any(row.component_id is None and row.group_id is None for row in rows)
    return {
        "components": [] if everything else [row.component_id for row in rows if row.component_id],
        "groups": [] if everything else [row.group_id for row in rows if row.group_id],
        "least_severity": rows[0].least_severity if rows else Severity.SEV4,
        "maintenance": rows[0].maintenance if rows else True,
        "nothing": not rows,
    }


def private_of(person: Recipient) -> list[Component]:
    """Components that they hear about and that private pages alone show."""
    of_pages = Q(private=True) | Q(showcase=False, status_pages__isnull=False)
    return list(Component.objects.filter(of_pages, subscriptions__recipient=person).distinct())


def _page(wanted: Mapping[str, Any]) -> StatusPage | None:
    """The private page on which this was asked for; None if it was the public one. Raises Gone if it is closed now."""
    if "page" not in wanted:
        return None
    page = StatusPage.objects.filter(uid=wanted["page"]).first()
    if page is None or not page.still_lets_in(wanted["let_in"]):
        raise Gone
    return page


def _subscribe_to_page(person: Recipient, wanted: Mapping[str, Any], anew: bool) -> None:
    """Of the page's components exactly these. Whatever else they hear about stays, but for who begins `anew` after
    they had unsubscribed: they ask for this and not for what they left.
    """
    page = StatusPage.objects.get(uid=wanted["page"])
    left = person.subscriptions.exclude(component__showcase=False) if anew else person.subscriptions.none()
    (left | person.subscriptions.filter(component__in=page.components.all())).delete()
    rows = [Subscription(recipient=person, component_id=one, **_how(wanted)) for one in wanted["components"]]
    Subscription.objects.bulk_create(rows)


def _how(wanted: Mapping[str, Any]) -> dict[str, Any]:
    return {"least_severity": wanted["least_severity"], "maintenance": wanted["maintenance"]}


def _change_private(person: Recipient, wanted: Mapping[str, Any]) -> None:
    """Of private components they hear about these alone from now on; no new ones. How, only if they changed that:
    each page asks it anew, and theirs shows one answer for all.
    """
    before = _how(wanted_by(person))
    private = person.subscriptions.filter(component__in=private_of(person))
    private.exclude(component__in=wanted["own"]).delete()
    if before != _how(wanted):
        private.update(**_how(wanted))


def _subscribe(person: Recipient, wanted: Mapping[str, Any]) -> None:
    """Exactly this from now on; what staff chose of components that are not public stays, as no page shows it."""
    person.subscriptions.exclude(Q(component__showcase=False) | Q(component__private=True)).delete()
    how = _how(wanted)
    components = Component.objects.public().filter(pk__in=wanted["components"])
    groups = ComponentGroup.objects.filter(pk__in=wanted["groups"])
    rows = [Subscription(recipient=person, component=one, **how) for one in components]
    rows += [Subscription(recipient=person, group=one, **how) for one in groups]
    if not (wanted["components"] or wanted["groups"] or wanted.get("nothing")):
        rows = [Subscription(recipient=person, **how)]
    Subscription.objects.bulk_create(rows)


# ── Forget ──────────────────────────────────────────────────────────────────


def forget() -> None:
    """Drop addresses that nobody confirmed in time, and after a while what was never confirmed. Proof is kept."""
    now = timezone.now()
    late = now - timedelta(hours=SubscriptionRequest.OPEN_HOURS)
    SubscriptionRequest.objects.filter(created_at__lt=late).exclude(address="").update(address="")
    unconfirmed = SubscriptionRequest.objects.filter(confirmed_at__isnull=True)
    unconfirmed.filter(created_at__lt=now - KEEP_UNCONFIRMED).delete()
    unconfirmed.filter(created_at__lt=now - KEEP_LIMITED, outcome=Outcome.LIMITED).delete()
