"""Writes the demo company down. Its past goes through the same verbs as the present, under a clock set back."""

import random
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime, time, timedelta
from pathlib import Path
from unittest.mock import patch

from django.conf import settings
from django.contrib.auth.hashers import make_password
from django.contrib.auth.models import Group, Permission, User
from django.db import transaction
from django.db.models import F
from django.utils import timezone
from guardian.shortcuts import assign_perm

from channels import delivery
from channels.models import Channel, Delivery, Dispatch, Medium, Notice, NoticeCount, Recipient, Suppression
from channels.providers.base import Addressee, Message
from channels.secrets import address_hash
from feedback import awareness
from feedback.models import SurveyAnswer, SurveyVersion, UpdateVote
from incidents import declaring, library, planning, publishing, roles
from incidents.alerts import taking_in
from incidents.alerts.signal import Signal, hint
from incidents.models import (
    AlertRule,
    AlertSource,
    AudienceSegment,
    CommunicationPlan,
    Component,
    ComponentGroup,
    Decision,
    Incident,
    IncidentUpdate,
    PlanRole,
    Proposal,
    Scenario,
    StatusPage,
    Subscription,
    Training,
)
from incidents.models.segment import checked
from incidents.models.training import usual_end
from incidents.runbooks import ready

from . import DEMO_PASSWORD, STAFF, story

GROUPS = {
    "Incident manager": roles.INCIDENT_MANAGERS,
    "Communications manager": roles.COMMUNICATIONS_MANAGERS,
    "Support lead": roles.SUPPORT_LEADS,
    "Manager": roles.MANAGERS,
}
RECIPIENTS = {"email": 2300, "sms": 700}


def is_loaded() -> bool:
    return User.objects.filter(username=STAFF[0][0]).exists()


def load() -> Iterator[str]:
    """Do it all or nothing, with one line of progress after each step."""
    with quiet_queue(), transaction.atomic():
        yield from steps()


def steps() -> Iterator[str]:
    dice = random.Random(11)  # the same company for everybody
    components = make_components()
    yield f"{len(components)} components in {len(story.COMPONENTS)} groups"
    people = make_staff()
    yield f"{len(people)} people"
    for entry in library.entries():
        library.load(entry)
    yield f"{Scenario.objects.count()} scenarios with message templates in English and Italian"
    channels = make_channels()
    yield f"{len(channels)} channels tested and enabled: {', '.join(c.name for c in channels)}"
    make_plans(channels, people)
    yield "communication plans, with people in their roles"
    yield f"{make_training(people)} people trained for their roles, of whom one must be trained again"
    yield f"{make_recipients(dice, components)} recipients with their subscriptions"
    yield f"audience segments: {', '.join(make_segments())}"
    yield f"private status page: {make_private_page(components)}"
    for past in story.PAST:
        incident = relive(past, people, dice)
        reached = publishing.people_reached(incident)
        answers = incident.survey_answers.count()
        yield f"incident of {past.days_ago} days ago: {past.title} ({reached} people told, {answers} answers)"
    plan_ahead(people)
    yield f"planned maintenance: {story.AHEAD.title}, announced, with a reminder that waits for its time"
    begin_open(people)
    yield f"open incident: {story.OPEN.title}, with an update that waits for approval"
    yield f"runbooks for incidents to come: {', '.join(make_runbooks(people))}"
    yield f"proposed by {story.MONITORING}, and not declared: {notice()}"


# ── The company ─────────────────────────────────────────────────────────────


def make_components() -> dict[str, Component]:
    found = {}
    for position, (group_name, members) in enumerate(story.COMPONENTS.items()):
        group = ComponentGroup.objects.create(name=group_name, position=position)
        for n, (name, description) in enumerate(members):
            found[name] = Component.objects.create(name=name, description=description, group=group, position=n)
    # As if the company had been here for long: the page tells of 90 days.
    Component.objects.update(created_at=timezone.now() - timedelta(days=200))
    return found


def make_staff() -> dict[str, User]:
    """The people of STAFF in their groups; whoever is limited to a component group is granted each of its parts."""
    password = make_password(DEMO_PASSWORD)  # once: hashing is slow on purpose
    for username, role, name, limit in STAFF:
        first, last = name.split(" ", 1)
        admin = role not in GROUPS
        user = User.objects.create(
            username=username,
            first_name=first,
            last_name=last,
            email=f"{username}@example.com",
            password=password,
            is_staff=True,
            is_superuser=admin,
        )
        if admin:
            continue
        names = [GROUPS[role]] if limit or role == "Manager" else [GROUPS[role], roles.ALL_COMPONENTS]
        user.groups.set(Group.objects.filter(name__in=names))
        if role == "Manager":
            user.user_permissions.add(Permission.objects.get(codename="view_component"))
        for component in Component.objects.filter(group__name=limit) if limit else ():
            assign_perm("incidents.operate_component", user, component)
    return {user.username: user for user in User.objects.filter(username__in=[row[0] for row in STAFF])}


def make_channels() -> list[Channel]:
    """Channels that work on this machine, each enabled after a test that succeeded; two more to be set up."""
    ready = [
        ("Email", "outbox_email", {}, "test@example.com"),
        ("Text messages", "outbox_sms", {}, "+447700900000"),
        ("Social posts", "outbox_post", {}, ""),
        ("Product pages", "in_app", {}, ""),
        ("Status page", "statuspage", {"directory": str(Path(settings.DATA_DIR).resolve() / "status")}, ""),
    ]
    enabled = []
    for name, provider, config, address in ready:
        channel = Channel.objects.create(name=name, provider=provider, config=config)
        if delivery.send_test(channel, address).error is None:
            channel.enabled = True
            channel.save(update_fields=["enabled"])
            enabled.append(channel)
    for name, provider, config in story.CHANNELS_TO_DO:
        Channel.objects.create(name=name, provider=provider, config=config)
    return enabled


def make_plans(channels: list[Channel], people: dict[str, User]) -> None:
    common = {"locales": ["en", "it"], "survey_delay_minutes": 0}
    plans = [
        CommunicationPlan.objects.create(name="Every incident", first_update_minutes=15, update_minutes=30, **common),
        CommunicationPlan.objects.create(
            name="Critical incidents", severities=["sev1"], first_update_minutes=10, update_minutes=20, **common
        ),
    ]
    for plan in plans:
        plan.channels.set(channels)
        for role, names in story.DUTY:
            for order, name in enumerate(names):
                PlanRole.objects.create(plan=plan, role=role, user=people[name], order=order)
    # What is critical is to go out by X too, once that is set up: until then the coverage check shows a hole.
    plans[1].channels.add(Channel.objects.get(name=story.PLANNED_CHANNEL))


def make_training(people: dict[str, User]) -> int:
    """Training for the roles of the plans: of one it is over, and of one it ends soon."""
    today = timezone.localdate()
    for role, names in story.DUTY:
        for name in set(names) & set(story.TRAINED):
            day = today - timedelta(days=story.TRAINED[name])
            Training.objects.create(
                user=people[name],
                role=role,
                completed_on=day,
                valid_until=usual_end(day),
                what=story.TRAINING,
                recorded_by=people["elena"],
            )
    return len(story.TRAINED)


def make_runbooks(people: dict[str, User]) -> list[str]:
    """Those that come with the portal. Last of all: in what is past nobody had them."""
    found = ready.add()
    for plan in CommunicationPlan.objects.all():
        plan.runbooks.set(found)
        plan.current(people["marta"])
    return [one.name for one in found]


def make_recipients(dice: random.Random, components: dict[str, Component]) -> int:
    """Customers who subscribed, in two languages; a few have left or cannot be reached."""
    rows = [recipient(medium, n, dice) for medium, count in RECIPIENTS.items() for n in range(count)]
    Recipient.objects.bulk_create(rows, batch_size=500)
    everything: list[Component | None] = list(components.values())
    subscriptions = []
    for row in rows:
        some = dice.random() >= 0.08
        chosen: list[Component | None] = dice.sample(everything, dice.choice((1, 1, 2))) if some else [None]
        subscriptions += [Subscription(recipient=row, component=component) for component in chosen]
    Subscription.objects.bulk_create(subscriptions, batch_size=500)
    reason = Suppression.Reason
    stops = [*[reason.UNSUBSCRIBED] * 31, *[reason.BOUNCED] * 22, *[reason.COMPLAINED] * 5, *[reason.MANUAL] * 2]
    Suppression.objects.bulk_create(
        Suppression(medium=row.medium, address_hash=row.address_hash, reason=why)
        for row, why in zip(dice.sample(rows, len(stops)), stops, strict=True)
    )
    return len(rows)


def make_segments() -> list[str]:
    """What is known of customers, and those who have something in common."""
    people = list(Recipient.objects.order_by("pk"))
    for n, person in enumerate(people):
        plan = story.CUSTOMER_PLANS[n % len(story.CUSTOMER_PLANS)]
        person.attributes = {"plan": plan, "region": "Italy" if person.locale == "it" else "Europe"}
    Recipient.objects.bulk_update(people, ["attributes"], batch_size=500)
    for name, conditions in story.SEGMENTS.items():
        AudienceSegment.objects.create(name=name, conditions=checked(conditions))
    return list(story.SEGMENTS)


def make_private_page(components: dict[str, Component]) -> StatusPage:
    """What one large customer reads: a component that is theirs alone, and some of everybody's."""
    own, description, also = story.OWN
    group = components[also[0]].group
    theirs = Component.objects.create(name=own, description=description, group=group, position=9, private=True)
    Component.objects.filter(pk=theirs.pk).update(created_at=timezone.now() - timedelta(days=200))
    page = StatusPage.objects.create(name=story.LARGE_CUSTOMER)
    page.components.set([theirs, *(components[name] for name in also)])
    return page


def recipient(medium: str, n: int, dice: random.Random) -> Recipient:
    """One customer, at an address that is reserved for examples and can never reach anybody."""
    locale = "it" if dice.random() < 0.6 else "en"
    first = dice.choice(story.FIRST_NAMES[locale].split())
    last = dice.choice(story.LAST_NAMES[locale].split())
    if medium == "email":
        domain = dice.choice(("example.com", "example.org", "example.net"))
        address = f"{first}.{last}{n}@{domain}".lower()
    else:
        address = f"+447700900{n + 100}"  # Ofcom's numbers for drama end at 900999
    return Recipient(
        medium=medium,
        address=address,
        address_hash=address_hash(medium, address),
        name=f"{first} {last}",
        locale=locale,
        consent_source="Status page",
        confirmed_at=timezone.now() - timedelta(days=dice.randint(40, 700)),
    )


# ── Its past ────────────────────────────────────────────────────────────────


@contextmanager
def clock(moment: datetime) -> Iterator[None]:
    """Let it be `moment` for everything that asks Django what time it is."""
    with ExitStack() as stack:
        stack.enter_context(patch.object(timezone, "now", lambda: moment))
        # This default was taken from the module before it could be patched.
        stack.enter_context(patch.object(Decision._meta.get_field("at"), "get_default", lambda: moment))
        yield


@contextmanager
def quiet_queue() -> Iterator[None]:
    """What happened long ago wakes no worker, also when the transaction ends."""
    with patch.object(publishing.queue, "enqueue"), patch.object(publishing, "wake"):
        yield


def relive(past: story.Past, people: dict[str, User], dice: random.Random) -> Incident:
    """Live one incident again, from its declaration to the answers of the survey."""
    day = timezone.localdate() - timedelta(days=past.days_ago)
    start = timezone.make_aware(datetime.combine(day, time.fromisoformat(past.clock)))
    incident = declare(past, start, people)
    for said in past.updates:
        update = write(incident, said, start, people)
        decide(update, said, start, people)
        deliver(update, start + timedelta(minutes=said.minute), dice)
    answer(incident, past, start, dice)
    awareness.look_at([incident])
    vote(incident, past)
    incident.refresh_from_db()
    return incident


def declare(past: story.Past, start: datetime, people: dict[str, User]) -> Incident:
    components = {Component.objects.get(name=name): state for name, state in past.components.items()}
    with clock(start + timedelta(minutes=past.declared)):
        return declaring.declare(
            people[past.declared_by],
            past.title,
            components,
            past.severity,
            Scenario.objects.get(slug=past.scenario),
            started_at=start,
        )


def write(incident: Incident, said: story.Said, start: datetime, people: dict[str, User]) -> IncidentUpdate:
    """Draft one update in the words of its author, and ask for approval."""
    author = people[said.author]
    published = start + timedelta(minutes=said.minute)
    with clock(published - timedelta(minutes=4)):
        pending = incident.updates.filter(status__in=IncidentUpdate.PENDING).first()
        update = pending or declaring.start_draft(incident, author, said.stage)
        update.edit(
            author,
            update.version,
            words=said.words,
            next_update_at=even(published + timedelta(minutes=said.promise)) if said.promise else None,
            expected_resolution_at=even(start + timedelta(minutes=said.expected)) if said.expected else None,
        )
    with clock(published - timedelta(minutes=3)):
        return update.submit(author)


def even(moment: datetime) -> datetime:
    """The next five minutes, as people promise times."""
    return moment + timedelta(minutes=-moment.minute % 5)


def decide(update: IncidentUpdate, said: story.Said, start: datetime, people: dict[str, User]) -> None:
    """Approve and publish one update; first send it back, where the story says so."""
    published = start + timedelta(minutes=said.minute)
    approver = people[said.approver]
    if said.sent_back:
        with clock(published - timedelta(minutes=2, seconds=30)):
            update.reject(approver, said.sent_back)
        with clock(published - timedelta(minutes=2)):
            update.submit(people[said.author])
    with clock(published - timedelta(seconds=50)):
        update.approve(approver, seen_hash=update.content_hash)
    with clock(published):
        update.publish(approver)


def deliver(update: IncidentUpdate, at: datetime, dice: random.Random) -> None:
    """Everybody gets the update, and a little later the invitation to the survey: those whom the update reached."""
    for purpose, minutes in ((Dispatch.Purpose.UPDATE, 0), (Dispatch.Purpose.SURVEY, 2)):
        rows = []
        for one in publishing.dispatches(update).filter(purpose=purpose).select_related("channel"):
            with clock(at + timedelta(minutes=minutes)):
                rows += outcomes(one, dice)
        Delivery.objects.bulk_create(rows, batch_size=1000)


def outcomes(one: Dispatch, dice: random.Random) -> list[Delivery]:
    """The outcomes of a dispatch as the engine would have recorded them: a few failed, and texts have receipts."""
    publishing.expand(one)
    at, tells = timezone.now(), one.channel.get_provider().capabilities.medium == Medium.SMS
    failures = story.FAILURES.get(one.channel.get_provider().capabilities.medium, [])
    later = random.Random(one.pk)  # its own, for the dice have other uses
    rows = []
    for ids in one.batches.values_list("recipient_ids", flat=True):
        for n, recipient_id in enumerate(ids):
            code, detail = dice.choice(failures) if failures and dice.random() < 0.015 else ("", "")
            sent = at + timedelta(seconds=2 + n // 20)
            row = Delivery(
                dispatch=one,
                recipient_id=recipient_id,
                status=Delivery.Status.FAILED if code else Delivery.Status.SENT,
                code=code,
                detail=detail,
                at=sent,
            )
            if tells and not code:
                row.status = Delivery.Status.DELIVERED
                row.delivered_at = sent + timedelta(seconds=3 + later.expovariate(1 / 40))
            rows.append(row)
    if one.channel.get_provider().capabilities.counted:
        show_in_app(one, rows)
    one.batches.update(
        attempted_to=F("size"), done_to=F("size"), tries=1, done_at=at + timedelta(seconds=2 + len(rows) // 20)
    )
    return rows


def show_in_app(one: Dispatch, rows: list[Delivery]) -> None:
    """Keep the notices of a dispatch, as its channel does, and what browsers told of them."""
    message = Message(one.content["parts"], one.locale, one.thread, f"dispatch-{one.pk}")
    for row in rows:
        row.provider_ref = delivery.send_own(
            one.channel, message, Addressee("", key=f"{one.pk}-{row.recipient_id}")
        ).ref
    count_views(row.provider_ref for row in rows)


def count_views(keys: Iterable[str]) -> None:
    """What browsers told of these notices on their first day."""
    dice = random.Random(13)
    event = NoticeCount.Event
    for notice in Notice.objects.filter(key__in=keys):
        shown = dice.randint(1200, 1700) if notice.locale == "en" else dice.randint(500, 900)
        counts = {event.SHOWN: shown, event.DISMISSED: round(shown * dice.uniform(0.2, 0.35))}
        day = notice.at.astimezone(UTC).date()
        NoticeCount.objects.bulk_create(
            NoticeCount(notice=notice, day=day, event=name, count=n) for name, n in counts.items()
        )


def answer(incident: Incident, past: story.Past, start: datetime, dice: random.Random) -> None:
    """Some of those who were invited answer over the hours that follow."""
    invited = Delivery.objects.filter(
        dispatch__thread=incident.thread, dispatch__purpose=Dispatch.Purpose.SURVEY, status__in=Delivery.REACHED
    )
    channels = dict(invited.values_list("recipient_id", "dispatch__channel_id"))
    version = SurveyVersion.objects.earliest("pk")
    locales = dict(Recipient.objects.filter(pk__in=invited.values("recipient_id")).values_list("pk", "locale"))
    chosen = dice.sample(sorted(locales), min(past.answers, len(locales)))
    comments = {locale: list(texts) for locale, texts in past.comments.items()}
    rows = []
    for recipient_id in chosen:
        locale = locales[recipient_id]
        clear, timely, useful = (min(5, max(1, round(dice.gauss(mean, 0.8)))) for mean in past.scores)
        left = comments.get(locale)
        rows.append(
            SurveyAnswer(
                incident=incident,
                recipient_id=recipient_id,
                version=version,
                channel_id=channels[recipient_id],
                given={"clear": clear, "timely": timely, "useful": useful},
                texts={"comment": left.pop()} if left and dice.random() < 0.2 else {},
                locale=locale,
            )
        )
    end = start + timedelta(minutes=past.updates[-1].minute)
    for hour, first in enumerate(range(0, len(rows), 20)):
        with clock(end + timedelta(minutes=9 + 47 * hour)):
            answered = rows[first : first + 20]
            for one in answered:
                one.at = timezone.now()
            SurveyAnswer.objects.bulk_create(answered)


def vote(incident: Incident, past: story.Past) -> None:
    """Some tell under an email whether it was clear."""
    dice = random.Random(incident.pk)
    rows = []
    for update in incident.updates.filter(status="published"):
        sent = Delivery.objects.filter(
            dispatch__source=f"update:{update.pk}", dispatch__purpose="update", status="sent"
        )
        emails = sent.filter(dispatch__content__links__has_key="clear_url")
        for recipient, channel, locale in emails.values_list(
            "recipient_id", "dispatch__channel_id", "dispatch__locale"
        ):
            if dice.random() < 0.06:
                clear = dice.random() < past.scores[0] / 5
                rows.append(
                    UpdateVote(
                        update=update,
                        recipient_id=recipient,
                        channel_id=channel,
                        locale=locale,
                        clear=clear,
                        at=(update.published_at or timezone.now()) + timedelta(minutes=dice.randint(1, 90)),
                    )
                )
    UpdateVote.objects.bulk_create(rows)


# ── Its present ─────────────────────────────────────────────────────────────


def plan_ahead(people: dict[str, User]) -> None:
    """Work in a few days: announced yesterday, its other notices approved for their times."""
    work = story.AHEAD
    day = timezone.localdate() + timedelta(days=work.days_ahead)
    starts_at = timezone.make_aware(datetime.combine(day, time.fromisoformat(work.clock)))
    planned, (author, approver) = timezone.now() - timedelta(days=1), (people[work.author], people[work.approver])
    with clock(planned):
        incident = planning.plan_maintenance(
            author,
            work.title,
            Component.objects.filter(name__in=work.components),
            starts_at,
            starts_at + timedelta(hours=work.hours),
            timedelta(days=1),
        )
    for n, update in enumerate(incident.updates.order_by("number")):
        with clock(planned + timedelta(minutes=3 + n)):
            update.submit(author)
        with clock(planned + timedelta(minutes=20 + n)):
            update.approve(approver, seen_hash=update.content_hash)
    told = planned + timedelta(minutes=25)
    with clock(told):
        announcement = incident.updates.get(number=1).publish(approver)
    deliver(announcement, told, random.Random(12))


def begin_open(people: dict[str, User]) -> None:
    """An incident of the last half hour: one update really sent into the local outbox, one in review."""
    first, second = story.OPEN.updates
    start = timezone.now().replace(second=0, microsecond=0) - timedelta(minutes=second.minute)
    incident = declare(story.OPEN, start, people)
    update = write(incident, first, start, people)
    decide(update, first, start, people)
    with clock(start + timedelta(minutes=first.minute, seconds=20)):
        for one in publishing.dispatches(update).select_related("channel"):
            publishing.expand(one)
        for pk in Channel.objects.filter(enabled=True).values_list("pk", flat=True):
            delivery.run_channel(pk, seconds=30)
    count_views(Notice.objects.filter(thread=incident.thread).values_list("key", flat=True))
    write(incident, second, start, people)


def notice() -> str:
    """Monitoring tells of something that somebody has to look at. Returns its title."""
    name, component, scenario, labels = story.RULE
    source = AlertSource.objects.create(name=story.MONITORING, kind="alertmanager")
    source.renew_secret()
    rule = AlertRule.objects.create(
        name=name, source=source, labels=labels, scenario=Scenario.objects.get(slug=scenario)
    )
    rule.components.set(Component.objects.filter(name=component))
    now = timezone.now()
    for minutes, fingerprint, title, summary, found in story.ALERTS:
        at = now - timedelta(minutes=minutes)
        with clock(at):
            taking_in.take_in(
                source, "", [Signal(fingerprint, True, title, summary, hint(found["severity"]), found, at)]
            )
    return Proposal.objects.get().title
