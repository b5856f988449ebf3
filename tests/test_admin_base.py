"""The admin as a whole: its base classes, its people, its way in."""

import pytest
from django.contrib import admin
from django.contrib.auth.models import Group, Permission, User
from django.test import Client
from django.urls import reverse
from unfold.admin import ModelAdmin

from commsportal.admin import PortalModelAdmin
from tests import make

pytestmark = pytest.mark.django_db


def staff_with(*codenames: str, **kwargs) -> Client:
    one = make.user(**kwargs)
    one.user_permissions.set(Permission.objects.filter(codename__in=codenames))
    client = Client()
    client.force_login(one)
    client.user = one
    return client


def test_every_model_wears_the_theme_and_starts_from_the_base():
    assert [m for m, a in admin.site._registry.items() if not isinstance(a, PortalModelAdmin | ModelAdmin)] == []
    ours = [a for m, a in admin.site._registry.items() if m._meta.app_label in ("incidents", "channels", "auth")]
    assert ours
    assert all(isinstance(a, PortalModelAdmin) for a in ours)


def test_the_queue_has_no_admin():
    assert not [m for m in admin.site._registry if m._meta.app_label == "django_q"]


def test_the_base_knows_no_app():
    import ast
    from pathlib import Path

    for name in ("admin.py", "users.py"):
        tree = ast.parse(Path("commsportal", name).read_text())
        modules = {n.module or "" for n in ast.walk(tree) if isinstance(n, ast.ImportFrom)}
        modules |= {a.name for n in ast.walk(tree) if isinstance(n, ast.Import) for a in n.names}
        assert not [m for m in modules if m.split(".")[0] in ("channels", "incidents", "feedback")]


def test_logging_in_leads_to_the_dashboard():
    make.user(username="marta")
    response = Client().post("/admin/login/", {"username": "marta", "password": "pw"})
    assert response.url == "/admin/"


@pytest.mark.parametrize(
    ("language", "said"),
    [
        ("en", "This has a character that cannot be typed. Delete it, and write it again."),
        ("it", "Contiene un carattere che non si può digitare. Cancella il testo e riscrivilo."),
    ],
)
@pytest.mark.parametrize("field", ["username", "password"])
def test_a_character_that_nobody_can_type_is_refused_at_the_login_in_plain_words(field, language, said):
    make.user(username="marta")
    typed = {"username": "marta", "password": "pw"} | {field: "mar\0ta"}
    response = Client().post("/admin/login/", typed, headers={"accept-language": language})
    assert response.status_code == 200
    assert said in response.content.decode()


def test_the_demo_lists_its_people_and_nothing_else_does(settings):
    assert "commsportal-demo" not in Client().get("/admin/login/").content.decode()
    settings.PORTAL_DEMO = True
    page = Client().get("/admin/login/").content.decode()
    assert "commsportal-demo" in page
    assert "Marta Rinaldi" in page


def test_the_sidebar_offers_only_what_opens():
    client = staff_with("view_incident")
    page = client.get("/admin/").content.decode()
    assert reverse("admin:incidents_incident_changelist") in page
    for name in ("auth_user_changelist", "channels_channel_changelist", "incidents_incident_declare"):
        assert reverse(f"admin:{name}") not in page


@pytest.mark.parametrize("role", [make.incident_manager, make.communications_manager])
def test_every_link_of_the_sidebar_opens(role):
    from unfold.sites import UnfoldAdminSite

    client = Client()
    client.force_login(role())
    response = client.get("/admin/")
    assert isinstance(admin.site, UnfoldAdminSite) or response.status_code == 200
    links = [i["link"] for group in response.context["sidebar_navigation"] for i in group["items"]]
    assert len(links) > 8
    assert [link for link in links if client.get(link).status_code != 200] == []


def test_the_sidebar_leads_who_sees_incidents_to_the_runs_of_runbooks_and_to_what_staff_were_told():
    for codename, shown in [("view_incident", True), ("view_user", False)]:
        groups = staff_with(codename).get("/admin/").context["sidebar_navigation"]
        links = [item["link"] for group in groups for item in group["items"]]
        for name in ("incidents_runbookrun_changelist", "incidents_staffnotice_changelist"):
            assert (reverse(f"admin:{name}") in links) == shown


def test_exactly_one_link_of_the_sidebar_is_the_page_that_is_open():
    client = Client()
    client.force_login(make.incident_manager())
    for path, title in [
        ("/admin/", "Dashboard"),
        ("/admin/incidents/incident/declare/", "Declare an incident"),
        ("/admin/incidents/incident/", "Incidents"),
        ("/admin/incidents/incidentupdate/", "Waiting for approval"),
        ("/admin/incidents/runbookrun/", "Runs of runbooks"),
        ("/admin/incidents/runbook/", "Runbooks"),
        ("/admin/incidents/staffnotice/", "Notices to staff"),
    ]:
        groups = client.get(path).context["sidebar_navigation"]
        assert [str(i["title"]) for g in groups for i in g["items"] if i["active"]] == [title]


@pytest.mark.parametrize(
    ("language", "out", "empty", "nothing"),
    [
        ("en", "You are logged out.", "Nothing here yet", "Nothing matches"),
        ("it", "Hai effettuato l’uscita.", "Ancora niente qui", "Nessun risultato"),
    ],
)
def test_plain_words_where_there_is_nothing_and_at_the_way_out(admin_client, language, out, empty, nothing):
    headers = {"accept-language": language}
    page = reverse("admin:incidents_communicationplan_changelist")
    assert empty in admin_client.get(page, headers=headers).text
    assert nothing in admin_client.get(page, {"q": "zzz"}, headers=headers).text
    assert out in admin_client.post(reverse("admin:logout"), headers=headers).text


# ── People ──


def test_editing_people_makes_nobody_a_superuser():
    client = staff_with("view_user", "change_user")
    other, boss = make.user(), User.objects.create_superuser("boss", "b@example.com", "pw")
    data = {
        "username": other.username,
        "is_active": "on",
        "is_staff": "on",
        "is_superuser": "on",
        "user_permissions": [Permission.objects.get(codename="delete_user").pk],
        "date_joined_0": "2026-01-01",
        "date_joined_1": "10:00",
    }
    client.post(reverse("admin:auth_user_change", args=[other.pk]), data)
    other.refresh_from_db()
    assert not other.is_superuser
    assert not other.user_permissions.exists()
    assert client.post(reverse("admin:auth_user_change", args=[boss.pk]), data).status_code == 403
    password = reverse("admin:auth_user_password_change", args=[boss.pk])
    assert client.post(password, {"password1": "x" * 12, "password2": "x" * 12}).status_code == 403


def test_nobody_gives_themselves_a_role():
    client = staff_with("view_user", "change_user")
    me = client.user
    data = {
        "username": me.username,
        "is_active": "on",
        "groups": [make.incident_manager().groups.first().pk],
        "date_joined_0": "2026-01-01",
        "date_joined_1": "10:00",
    }
    client.post(reverse("admin:auth_user_change", args=[me.pk]), data)
    assert not me.groups.exists()


@pytest.mark.parametrize("model", ["user", "group"])
def test_people_and_groups_open_for_an_administrator(model, admin_client):
    make.incident_manager()

    one = {"user": User, "group": Group}[model].objects.first()
    for name, args in (("changelist", []), ("add", []), ("change", [one.pk]), ("history", [one.pk])):
        assert admin_client.get(reverse(f"admin:auth_{model}_{name}", args=args)).status_code == 200


def test_a_person_is_made_in_the_admin(admin_client):
    data = {
        "username": "newcomer",
        "password1": "quite-Long-4711",
        "password2": "quite-Long-4711",
        "usable_password": "true",
    }
    response = admin_client.post(reverse("admin:auth_user_add"), data)
    assert response.status_code == 302
    assert User.objects.get(username="newcomer").check_password("quite-Long-4711")


def test_a_person_is_staff_with_a_name_and_groups_from_the_first_page_on(admin_client):
    page = reverse("admin:auth_user_add")
    form = admin_client.get(page).context["adminform"].form
    assert form["is_staff"].value() is True
    leads = Group.objects.get(name="Support leads")
    everything = Group.objects.get(name="All components")
    data = {
        "username": "newcomer",
        "first_name": "Nina",
        "last_name": "Nuova",
        "email": "nina@example.com",
        "password1": "quite-Long-4711",
        "password2": "quite-Long-4711",
        "usable_password": "true",
        "is_staff": "on",
        "groups": [leads.pk, everything.pk],
    }
    admin_client.post(page, data)
    nina = User.objects.get(username="newcomer")
    assert (nina.get_full_name(), nina.email, nina.is_staff) == ("Nina Nuova", "nina@example.com", True)
    assert set(nina.groups.all()) == {leads, everything}


@pytest.mark.parametrize(("language", "said"), [("en", "Needs components too"), ("it", "Servono anche i componenti")])
def test_each_group_says_what_it_is_for(admin_client, language, said):
    one = make.user()
    for page in (reverse("admin:auth_user_change", args=[one.pk]), reverse("admin:auth_group_changelist")):
        assert said in admin_client.get(page, headers={"accept-language": language}).text


def test_only_superusers_see_single_permissions_and_only_such_as_a_page_asks_for(admin_client):
    one = make.user()
    page = reverse("admin:auth_user_change", args=[one.pk])
    assert "user_permissions" not in staff_with("view_user", "change_user").get(page).text
    offered = admin_client.get(page).context["adminform"].form.fields["user_permissions"].queryset
    assert offered.filter(codename="view_incident").exists()
    kinds = set(offered.values_list("content_type__app_label", flat=True))
    assert not kinds & {"account", "django_q", "guardian", "mfa", "sessions"}
    assert not offered.filter(content_type__model__startswith="historical").exists()


def test_staff_without_the_right_do_not_see_people():
    client = Client()
    client.force_login(make.communications_manager())
    assert client.get(reverse("admin:auth_user_changelist")).status_code == 403
