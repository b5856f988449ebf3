"""Short ways to build a world for a test. Each returns saved rows; defaults are valid."""

import itertools
from datetime import date, timedelta
from typing import Any

from allauth.mfa.totp.internal.auth import TOTP, generate_totp_secret
from django.contrib.auth.models import Group, User
from django.test import Client
from django.utils import timezone

from channels import delivery
from channels.models import Channel, Recipient
from incidents import declaring, roles
from incidents.models import (
    CommunicationPlan,
    Component,
    ComponentGroup,
    Incident,
    IncidentUpdate,
    MessageTemplate,
    PlanRole,
    Scenario,
    Subscription,
    Training,
)
from incidents.models.training import usual_end

_n = itertools.count(1)
WORDS = {
    "subject": "{{ components }}: {{ state }}",
    "issue": "Payments with {{ components }} fail since {{ started }}.",
    "impact": "Customers who pay by card see an error and are not charged.",
    "outlook": "We are looking for the cause. Next update by {{ next_update | default: 'the end of the day' }}.",
    "action": "Please try again later; do not pay twice.",
    "sms": "{{ organisation }}: {{ components }} {{ state }}. Next update {{ next_update | default: 'soon' }}.",
    "post": "{{ components }}: {{ state }}. Next update {{ next_update | default: 'soon' }}. {{ status_url }}",
}


def user(*groups: str, **kwargs: Any) -> User:
    """A member of staff in these role groups (incidents.roles)."""
    name = kwargs.pop("username", f"person{next(_n)}")
    one = User.objects.create_user(name, f"{name}@example.com", "pw", is_staff=True, **kwargs)
    one.groups.set(Group.objects.filter(name__in=groups))
    return one


def incident_manager(**kwargs: Any) -> User:
    return user(roles.INCIDENT_MANAGERS, roles.ALL_COMPONENTS, **kwargs)


def communications_manager(**kwargs: Any) -> User:
    return user(roles.COMMUNICATIONS_MANAGERS, roles.ALL_COMPONENTS, **kwargs)


def client(who: User) -> Client:
    """The browser of somebody who is logged in."""
    one = Client()
    one.force_login(who)
    return one


def factor(who: User) -> str:
    """An authenticator app of this person; its secret."""
    secret = generate_totp_secret()
    TOTP.activate(who, secret)
    return secret


def trained(who: User, role: str, until: date | None = None) -> Training:
    """A record of training; without `until` of today."""
    last = until or usual_end(timezone.localdate())
    return Training.objects.create(user=who, role=role, completed_on=last - timedelta(days=365), valid_until=last)


def component(name: str = "", group: str = "Payments") -> Component:
    return Component.objects.create(
        name=name or f"Component {next(_n)}", group=ComponentGroup.objects.get_or_create(name=group)[0]
    )


def channel(provider: str = "outbox_email", name: str = "", **kwargs: Any) -> Channel:
    """An enabled channel that counts as tested."""
    kwargs.setdefault("enabled", True)
    kwargs.setdefault("verified_at", timezone.now())
    return Channel.objects.create(name=name or f"Channel {next(_n)}", provider=provider, **kwargs)


def recipients(count: int, *components: Component, medium: str = "email", locale: str = "en") -> list[Recipient]:
    """Confirmed recipients subscribed to these components (to all, if none is given)."""
    from channels.secrets import address_hash

    start = next(_n) * 1_000_000
    rows = []
    for i in range(count):
        address = f"customer{start + i}@example.com" if medium == "email" else f"+39{3000000000 + start + i}"
        rows.append(
            Recipient(
                medium=medium,
                address=address,
                address_hash=address_hash(medium, address),
                name=f"Customer {i}",
                locale=locale,
                confirmed_at=timezone.now(),
            )
        )
    rows = Recipient.objects.bulk_create(rows)
    Subscription.objects.bulk_create(
        Subscription(recipient=r, component=c) for r in rows for c in (components or (None,))
    )
    return rows


def scenario(slug: str = "outage", stages: tuple[str, ...] = ("investigating", "identified", "monitoring", "resolved")):
    """A scenario with templates for these stages in English and Italian."""
    one, created = Scenario.objects.get_or_create(slug=slug, defaults={"name": slug.title()})
    if created:
        for stage in stages:
            for locale in ("en", "it"):
                MessageTemplate.objects.create(scenario=one, stage=stage, locale=locale, **WORDS)
    return one


def plan(*channels: Channel, locales: tuple[str, ...] = ("en", "it"), people: Any = (), **kwargs: Any):
    """A plan for everything; `people` are (role, user)."""
    kwargs.setdefault("survey_delay_minutes", 0)
    one = CommunicationPlan.objects.create(name=f"Plan {next(_n)}", locales=list(locales), **kwargs)
    one.channels.set(channels)
    for role, who in people:
        PlanRole.objects.create(plan=one, role=role, user=who)
    return one


def incident(by: User | None = None, *components: Component, state: str = "partial_outage", **kwargs: Any) -> Incident:
    """A declared incident with its first draft. Needs a plan to have channels."""
    return declaring.declare(
        by or incident_manager(),
        kwargs.pop("title", "Card payments fail"),
        dict.fromkeys(components or (component(),), state),
        kwargs.pop("severity", "sev2"),
        kwargs.pop("scenario", None) or scenario(),
        **kwargs,
    )


def published(update: IncidentUpdate, approver: User | None = None) -> IncidentUpdate:
    """Take a draft through review to published."""
    update.submit(update.author)
    approver = approver or communications_manager()
    update.approve(approver, typed_count=update.reach().total)
    return update.publish(approver)


def survey_answer(incident: Incident, recipient: Recipient | None = None, comment: str = "", **scores: Any) -> Any:
    """An answer to the survey that comes with the portal; `scores` of its questions, and other columns."""
    from feedback.models import SurveyAnswer, SurveyVersion

    columns = {name: scores.pop(name) for name in list(scores) if name not in ("clear", "timely", "useful")}
    return SurveyAnswer.objects.create(
        incident=incident,
        recipient=recipient,
        given={"clear": 4, "timely": 4, "useful": 4} | scores,
        texts={"comment": comment} if comment else {},
        **{"locale": "en", "version": SurveyVersion.objects.order_by("pk").first()} | columns,
    )


def deliver() -> None:
    """Do what the workers would: find people and send until nothing is due. In this process."""
    from incidents import tasks

    for _round in range(20):
        tasks.sweep()
        if not any([delivery.run_channel(pk, 30) for pk in Channel.objects.values_list("pk", flat=True)]):  # noqa: C419 - all of them
            tasks.sweep()
            if not delivery.due().exists():
                return
