"""Who may do what (role), and with which incidents (component): everywhere alike."""

import itertools

import pytest
from django.contrib import admin
from django.contrib.auth.models import User
from django.urls import NoReverseMatch, reverse
from guardian.shortcuts import assign_perm

from incidents import declaring, roles
from incidents.errors import NotAllowed
from incidents.models import Component, ComponentUserObjectPermission, Incident, IncidentUpdate
from tests import make

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("foreign")]
# Words that nobody without component B may ever read.
SECRET = "Zebra"


def scoped(component: Component, *groups: str) -> User:
    """Somebody with these roles for one component only."""
    one = make.user(*(groups or [roles.INCIDENT_MANAGERS]))
    assign_perm("incidents.operate_component", one, component)
    return one


@pytest.fixture(scope="module")
def foreign(shared_world) -> int:
    """The key of an incident of a foreign component: one update published and delivered, one in review."""
    channel = make.channel()
    make.plan(channel)
    component = make.component(f"{SECRET} payouts", "Money")  # names of groups are known to all staff
    make.recipients(3, component)
    author = scoped(component)
    incident = make.incident(author, component, title=f"{SECRET} payouts are late")
    make.published(incident.updates.get())
    make.deliver()
    declaring.start_draft(incident, author, "identified").submit(author)
    return incident.pk


@pytest.fixture
def other_world(foreign: int, db: None) -> Incident:
    return Incident.objects.get(pk=foreign)


def admin_urls(*objects):
    """Every admin address: lists, and for these objects every page below them."""
    names = {"admin:index", "admin:app_list"}
    for model, model_admin in admin.site._registry.items():
        names |= {f"admin:{u.name}" for u in model_admin.get_urls() if u.name}
        of = [o for o in objects if isinstance(o, model)]
        for name in [f"admin:{u.name}" for u in model_admin.get_urls() if u.name]:
            for o in of:
                try:
                    yield reverse(name, args=[o.pk])
                except NoReverseMatch:
                    continue
    for name in names:
        try:
            yield reverse(name)
        except NoReverseMatch:
            continue
    for app in ("incidents", "channels", "feedback"):
        yield reverse("admin:app_list", args=[app])


def test_a_person_sees_nothing_of_the_incidents_of_other_components(other_world: Incident):
    own = make.component("Login")
    client = make.client(scoped(own))
    updates = list(other_world.updates.all())
    urls = set(admin_urls(other_world, *updates, *other_world.components.all()))
    assert len(urls) > 50
    leaks = []
    for url in sorted(urls):
        for method in (client.get, client.post):
            response = method(url)
            body = b"".join(response) if response.streaming else response.content
            if SECRET.encode() in body or response.status_code >= 500:
                leaks.append((method.__name__, url, response.status_code))
    assert leaks == []
    assert list(other_world.updates.values_list("status", flat=True)) == ["in_review", "published"]


@pytest.mark.parametrize("name", ["change", "write", "role", "history"])
def test_a_foreign_incident_does_not_exist(other_world: Incident, name: str):
    client = make.client(scoped(make.component()))
    url = reverse(f"admin:incidents_incident_{name}", args=[other_world.pk])
    assert client.post(url).status_code in ((404,) if name != "history" else (302, 404))
    assert other_world.updates.count() == 2


def test_its_own_incident_does(other_world: Incident):
    client = make.client(scoped(other_world.components.get()))
    response = client.get(reverse("admin:incidents_incident_change", args=[other_world.pk]))
    assert SECRET in response.content.decode()


@pytest.mark.parametrize("query", [SECRET, ""])
def test_autocompletes_and_searches_stay_in_scope(other_world: Incident, query: str):
    own = make.incident(make.incident_manager(), component := make.component("Login"), title="Login fails")
    client = make.client(scoped(component))
    urls = [
        reverse("admin:incidents_incident_changelist") + f"?q={query}",
        reverse("admin:incidents_incidentupdate_changelist") + f"?q={query}",
        reverse("admin:incidents_component_changelist") + f"?q={query}",
        reverse("admin:search") + f"?s={query}&extended=1",
        reverse("admin:autocomplete")
        + f"?app_label=incidents&model_name=incidentupdate&field_name=incident&term={query}",
        reverse("admin:autocomplete")
        + f"?app_label=incidents&model_name=incidentcomponent&field_name=component&term={query}",
    ]
    pages = [client.get(url).content.decode().replace(f'value="{query}"', "") for url in urls]
    assert not any(f"{SECRET} payouts" in page for page in pages)
    if not query:
        assert own.title in pages[0]


def test_the_declare_form_offers_and_takes_only_ones_own_components(other_world: Incident):
    own, foreign = make.component("Login"), other_world.components.get()
    client = make.client(scoped(own))
    url = reverse("admin:incidents_incident_declare")
    assert "Login" in client.get(url).content.decode()
    data = {"severity": "sev2", "started_at": "2026-01-05T10:00", f"component_{foreign.pk}": "major_outage"}
    assert client.post(url, data).status_code == 422
    assert Incident.objects.count() == 1


def test_seeing_a_component_is_not_working_on_it(other_world: Incident):
    reader = make.user(roles.INCIDENT_MANAGERS)
    assign_perm("incidents.view_component", reader, other_world.components.get())
    client = make.client(reader)
    page = client.get(reverse("admin:incidents_incident_change", args=[other_world.pk])).content.decode()
    assert SECRET in page
    assert "Hand over" not in page
    other_world.updates.filter(status="in_review").get().withdraw(other_world.declared_by)
    assert client.post(reverse("admin:incidents_incident_write", args=[other_world.pk])).status_code == 403
    assert not other_world.updates.filter(status="draft").exists()


def test_acting_needs_every_component_of_the_incident(other_world: Incident):
    other = make.component()
    both = make.incident(make.incident_manager(), other, other_world.components.get())
    one_sided = scoped(other)
    both.updates.get().withdraw(both.declared_by)
    assert make.client(one_sided).get(reverse("admin:incidents_incident_change", args=[both.pk])).status_code == 200
    assert make.client(one_sided).post(reverse("admin:incidents_incident_write", args=[both.pk])).status_code == 403


def test_somebody_who_left_may_do_nothing(other_world: Incident):
    user = scoped(other_world.components.get())
    client = make.client(user)
    User.objects.filter(pk=user.pk).update(is_active=False)
    assert client.get(reverse("admin:incidents_incident_change", args=[other_world.pk])).status_code == 302
    assert not Component.objects.for_user(User.objects.get(pk=user.pk)).exists()


# ── Roles ──

GROUPS = [roles.INCIDENT_MANAGERS, roles.COMMUNICATIONS_MANAGERS, roles.SUPPORT_LEADS, roles.MANAGERS, None]
VERBS = ["declare", "write", "approve", "publish", "retry", "report"]
ALLOWED = {
    (roles.INCIDENT_MANAGERS, verb) for verb in ("declare", "write", "approve", "publish", "retry", "report")
} | {(roles.COMMUNICATIONS_MANAGERS, verb) for verb in ("declare", "write", "approve", "publish", "retry", "report")}
ALLOWED |= {(roles.SUPPORT_LEADS, "write"), (roles.MANAGERS, "report")}


def attempt(verb: str, user: User, incident: Incident) -> bool:
    """Whether this person gets through with one verb, on the road where it is taken."""
    client = make.client(user)
    if verb == "declare":
        return client.get(reverse("admin:incidents_incident_declare")).status_code == 200
    if verb == "report":
        return client.get(reverse("admin:feedback_report")).status_code == 200
    if verb == "retry":
        update = incident.updates.get(status="published")
        url = reverse("admin:incidents_incidentupdate_retry", args=[update.pk])
        data = {"channel": update.channels.get().pk, "status": "failed"}
        return client.post(url, data).status_code in (302, 409)  # 409: nothing failed here
    update = incident.updates.get(status="in_review")
    if verb == "write":
        update.withdraw(update.author)
        client.post(reverse("admin:incidents_incident_write", args=[incident.pk]))
        return incident.updates.filter(status="draft", author=user).exists()
    if verb == "publish":
        update.approve(make.communications_manager())
    try:
        if verb == "approve":
            update.approve(user)
        else:
            update.publish(user)
    except NotAllowed:
        return False
    return True


@pytest.mark.parametrize(("group", "verb"), list(itertools.product(GROUPS, VERBS)))
def test_a_role_may_do_what_the_table_says(other_world: Incident, group: str | None, verb: str):
    user = make.user(*([group] if group else []), roles.ALL_COMPONENTS)
    assert attempt(verb, user, other_world) == ((group, verb) in ALLOWED)


@pytest.mark.parametrize("group", [g for g in GROUPS if g])
@pytest.mark.parametrize("verb", ["approve", "publish", "write"])
def test_no_role_reaches_beyond_its_components(other_world: Incident, group: str, verb: str):
    user = scoped(make.component(), group)
    assert not other_world.updates.filter(status="in_review").get().may(verb, user)


def test_a_superuser_cannot_approve_what_they_wrote():
    boss = User.objects.create_superuser("boss", "boss@example.com", "pw")
    update = make.incident(boss).updates.get()
    update.submit(boss)
    with pytest.raises(NotAllowed):
        update.approve(boss)
    assert update.incident.title not in [u.incident.title for u in _approvals(boss)]


def _approvals(user: User) -> list[IncidentUpdate]:
    return list(make.client(user).get(reverse("admin:index")).context["approvals"])


# ── Who gives components ──


def test_only_an_administrator_gives_components():
    component = make.component()
    user = scoped(component, roles.COMMUNICATIONS_MANAGERS)
    client = make.client(user)
    url = reverse("admin:incidents_component_change", args=[component.pk])
    assert client.get(url).status_code == 200
    other = make.user()
    permission = ComponentUserObjectPermission.objects.get(user=user).permission_id
    data = {
        "name": "Mine",
        "position": 0,
        **formset("componentuserobjectpermission_set", {"user": other.pk, "permission": permission}),
        **formset("componentgroupobjectpermission_set"),
    }
    assert client.post(url, data).status_code == 403
    assert not ComponentUserObjectPermission.objects.filter(user=other).exists()
    boss = make.client(User.objects.create_superuser("boss", "boss@example.com", "pw"))
    assert boss.post(url, data).status_code == 302
    assert list(Component.objects.for_user(other)) == [component]


def formset(prefix: str, *rows: dict) -> dict:
    data = {f"{prefix}-TOTAL_FORMS": len(rows), f"{prefix}-INITIAL_FORMS": 0}
    for i, row in enumerate(rows):
        data |= {f"{prefix}-{i}-{key}": value for key, value in row.items()}
    return data
