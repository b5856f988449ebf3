"""Tokens: made by oneself, shown once, kept as a hash, never more than their owner, and at an end when they must be."""

from datetime import timedelta

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from incidents import roles
from incidents.errors import NotAllowed, Refused, WrongState
from incidents.models import ApiToken, Scope
from tests import make

from .program import API, Program, allow_tokens, problem

pytestmark = pytest.mark.django_db


def ask(secret: str, path: str = "/token", **headers: str):
    return Client().get(API + path, headers={"Authorization": f"Bearer {secret}"} | headers)


@pytest.fixture
def anna() -> User:
    return make.incident_manager(username="anna")


@pytest.fixture
def boss() -> User:
    return User.objects.create_superuser("boss", "boss@example.com", "pw")


def account() -> User:
    """An account that nobody can log in to, with the rights of an incident manager."""
    one = make.incident_manager()
    one.set_unusable_password()
    one.save()
    return one


# ── Making ──


def test_only_a_hash_of_the_secret_is_kept(anna):
    token, secret = ApiToken.make(anna, anna, "deploy bot", ["incidents:read"], 30)
    random = secret.removeprefix(token.prefix + "_")
    assert len(random) >= 43
    kept = repr(ApiToken.objects.values().get(pk=token.pk))
    assert random not in kept
    assert secret.startswith("cpt_")
    assert ApiToken.find(secret) == token


def test_a_role_without_the_permission_makes_none():
    manager = make.user(roles.MANAGERS, roles.ALL_COMPONENTS)
    with pytest.raises(NotAllowed):
        ApiToken.make(manager, manager, "x", ["incidents:read"], 30)


def test_nobody_makes_a_token_that_acts_as_somebody_who_logs_in(anna, boss):
    other = make.communications_manager()
    for who in (anna, boss):
        with pytest.raises(NotAllowed, match="must log in"):
            ApiToken.make(who, other, "x", ["updates:write"], 30)


def test_a_superuser_makes_one_for_an_account_without_a_password(anna, boss):
    bot = account()
    token, _secret = ApiToken.make(boss, bot, "x", ["updates:write"], 30)
    assert (token.owner, token.created_by) == (bot, boss)
    with pytest.raises(NotAllowed):
        ApiToken.make(anna, bot, "x", ["updates:write"], 30)


def test_whoever_made_the_token_of_an_account_does_not_approve_what_it_wrote(boss):
    bot = account()
    ApiToken.make(boss, bot, "x", ["updates:write"], 30)
    update = make.incident(bot).updates.get().submit(bot)
    assert update.writers() == {bot.pk, boss.pk}
    with pytest.raises(NotAllowed, match="You wrote this"):
        update.approve(boss)
    update.approve(make.communications_manager(), typed_count=0)


@pytest.mark.parametrize(
    ("name", "scopes", "days"),
    [("", ["incidents:read"], 30), ("x", [], 30), ("x", ["incidents:all"], 30), ("x", ["incidents:read"], 0),
     ("x", ["incidents:read"], 367)],
)  # fmt: skip
def test_a_token_without_a_name_a_use_or_an_end_is_refused(anna, name, scopes, days):
    with pytest.raises(Refused):
        ApiToken.make(anna, anna, name, scopes, days)


# ── Being believed ──


def test_a_good_token_is_believed(anna):
    program = Program(anna, "incidents:read")
    said = program.get("/token").json()
    assert said["acts_as"] == {"username": "anna", "name": "anna"}
    assert said["scopes"] == ["incidents:read"]
    program.token.refresh_from_db()
    assert program.token.last_used_at is not None


@pytest.mark.parametrize(
    "header",
    [
        "",
        "Bearer",
        "Bearer ",
        "Basic {}",
        "{}",
        "Bearer {}x",
        "Bearer x{}",
        "Bearer cpt_",
        "Bearer \udcff",
        "Bearer " + "x" * 5000,
    ],
)
def test_anything_else_is_not(anna, header):
    program = Program(anna)
    header = header.replace("{}", program.secret).encode("utf-8", "surrogateescape").decode("latin-1")
    response = Client().get(f"{API}/token", headers={"Authorization": header})
    problem(response, 401, "unauthenticated")
    assert response["WWW-Authenticate"].startswith("Bearer")


def test_a_changed_secret_is_not_believed(anna):
    secret = Program(anna).secret
    for place in (-1, 14, 20):
        letter = "A" if secret[place] != "A" else "B"
        changed = secret[:place] + letter + secret[place:][1:]
        assert ask(changed).status_code == 401


def test_a_login_is_no_token(anna):
    client = make.client(anna)
    problem(client.get(f"{API}/incidents"), 401, "unauthenticated")
    problem(client.post(f"{API}/incidents", {}, content_type="application/json"), 401, "unauthenticated")


def test_a_token_is_no_login(anna):
    program = Program(anna)
    response = program.client.get("/admin/", headers={"Authorization": f"Bearer {program.secret}"})
    assert response.status_code == 302
    assert "sessionid" not in program.get("/token").cookies


def test_it_ends_when_it_expires(anna):
    program = Program(anna)
    ApiToken.objects.update(expires_at=timezone.now() - timedelta(seconds=1))
    problem(program.get("/token"), 401, "unauthenticated")
    assert ApiToken.objects.get().state == "expired"


def test_it_ends_when_it_is_revoked(anna):
    program = Program(anna)
    program.token.revoke(anna)
    problem(program.get("/token"), 401, "unauthenticated")
    with pytest.raises(WrongState):
        program.token.revoke(anna)
    assert ApiToken.objects.get().state == "revoked"


@pytest.mark.parametrize("change", [{"is_active": False}, {"is_staff": False}])
def test_it_ends_with_its_owner(anna, change):
    program = Program(anna)
    User.objects.filter(pk=anna.pk).update(**change)
    problem(program.get("/token"), 401, "unauthenticated")
    assert ApiToken.objects.get().state == "closed"


def test_it_ends_when_its_owner_may_hold_none(anna):
    program = Program(anna)
    anna.user_permissions.clear()
    anna.groups.clear()
    problem(program.get("/token"), 401, "unauthenticated")


def test_it_loses_what_its_owner_loses(anna):
    program = Program(anna)
    assert program.get("/incidents").status_code == 200
    anna.groups.clear()
    problem(program.get("/incidents"), 403, "not_allowed")


def test_only_the_owner_and_a_superuser_revoke(anna, boss):
    program = Program(anna)
    with pytest.raises(NotAllowed):
        program.token.revoke(make.incident_manager())
    program.token.revoke(boss)


# ── Where it may stand ──


@pytest.mark.parametrize("name", ["access_token", "token", "api_key", "Authorization", "q"])
def test_a_token_in_an_address_is_refused(anna, name):
    program = Program(anna)
    response = Client().get(f"{API}/incidents?{name}={program.secret}")
    problem(response, 400, "token_in_address")
    problem(program.get(f"/incidents?{name}={program.secret}"), 400, "token_in_address")


def test_nothing_in_between_keeps_an_answer(anna):
    assert Program(anna).get("/incidents")["Cache-Control"] == "no-store"
    assert Client().get(f"{API}/incidents")["Cache-Control"] == "no-store"


# ── How often ──


def test_a_token_that_asks_too_often_waits(anna, settings, monkeypatch):
    settings.API_PER_MINUTE = 3
    monkeypatch.setattr("incidents.api.access.time.time", lambda: 1_800_000_030.0)
    program, other = Program(anna), Program(make.incident_manager())
    assert [program.get("/token").status_code for _i in range(4)] == [200, 200, 200, 429]
    response = program.get("/token")
    problem(response, 429, "too_many")
    assert response["Retry-After"] == "30"
    assert other.get("/token").status_code == 200
    monkeypatch.setattr("incidents.api.access.time.time", lambda: 1_800_000_060.0)
    assert program.get("/token").status_code == 200


def test_who_guesses_too_often_waits_and_shuts_out_nobody(anna, settings):
    settings.API_FAILURES_PER_MINUTE = 3
    program = Program(anna)
    assert [ask("cpt_00000000_guess").status_code for _i in range(5)] == [401, 401, 401, 429, 429]
    assert program.get("/token").status_code == 200
    elsewhere = Client().get(f"{API}/token", REMOTE_ADDR="198.51.100.7")
    assert elsewhere.status_code == 401


def test_a_cache_that_is_away_stops_nobody(anna, monkeypatch):
    class Away:
        def get(self, *_args):
            raise OSError("no cache")

        add = incr = get

    program = Program(anna)
    monkeypatch.setattr("incidents.api.access.cache", Away())
    assert program.get("/token").status_code == 200


def test_a_look_writes_at_most_once_a_minute(anna):
    program = Program(anna)
    program.get("/token")
    with CaptureQueriesContext(
        connection,
    ) as queries:
        program.get("/token")
    assert [one["sql"] for one in queries if one["sql"].startswith("UPDATE")] == []


# ── The pages ──


def add(client: Client, **data):
    data = {"name": "deploy bot", "scopes": ["incidents:read"], "days": "90"} | data
    return client.post(reverse("admin:incidents_apitoken_add"), data)


def test_the_secret_is_shown_once(anna):
    client = make.client(allow_tokens(anna))
    response = add(client)
    token = ApiToken.objects.get()
    assert (token.owner, token.created_by, token.scopes) == (anna, anna, ["incidents:read"])
    secret = response.context["secret"]
    assert secret in response.content.decode()
    assert "no-store" in response["Cache-Control"]
    assert ask(secret).status_code == 200
    for name, args in (("changelist", []), ("change", [token.pk]), ("revoke", [token.pk]), ("history", [token.pk])):
        page = client.get(reverse(f"admin:incidents_apitoken_{name}", args=args)).content.decode()
        assert token.prefix in page
        assert secret not in page


@pytest.mark.parametrize(
    ("name", "value"), [("name", ""), ("scopes", []), ("scopes", ["all"]), ("days", "9999"), ("days", "x")]
)
def test_what_is_missing_is_named(anna, name, value):
    response = add(make.client(allow_tokens(anna)), **{name: value})
    assert response.status_code == 422
    assert response.context["form"].errors[name]
    assert not ApiToken.objects.exists()


def test_the_owner_is_not_theirs_to_choose(anna, boss):
    bot = account()
    client = make.client(allow_tokens(anna))
    assert "owner" not in client.get(reverse("admin:incidents_apitoken_add")).context["form"].fields
    add(client, owner=bot.pk)
    assert ApiToken.objects.get().owner == anna
    chooser = make.client(boss)
    add(chooser, owner=bot.pk, name="of the bot")
    assert ApiToken.objects.get(name="of the bot").owner == bot
    assert add(chooser, owner=anna.pk, name="of anna").status_code == 422


def test_others_tokens_are_not_there(anna, boss):
    token = Program(anna).token
    stranger = make.client(allow_tokens(make.incident_manager()))
    for name in ("change", "revoke"):
        url = reverse(f"admin:incidents_apitoken_{name}", args=[token.pk])
        assert stranger.get(url).status_code in (403, 404)
        assert stranger.post(url).status_code in (403, 404)
    assert token.prefix not in stranger.get(reverse("admin:incidents_apitoken_changelist")).content.decode()
    assert token.prefix in make.client(boss).get(reverse("admin:incidents_apitoken_changelist")).content.decode()
    token.refresh_from_db()
    assert token.revoked_at is None


def test_revoking_asks_first(anna):
    program = Program(anna)
    client = make.client(anna)
    url = reverse("admin:incidents_apitoken_revoke", args=[program.token.pk])
    assert program.token.prefix in client.get(url).content.decode()
    assert program.get("/token").status_code == 200
    assert client.post(url).status_code == 302
    assert program.get("/token").status_code == 401


def test_the_pages_are_closed_to_whoever_may_hold_none():
    client = make.client(make.user(roles.MANAGERS))
    for name in ("add", "changelist"):
        assert client.get(reverse(f"admin:incidents_apitoken_{name}")).status_code == 403
    assert "API tokens" not in client.get(reverse("admin:index")).content.decode()


def test_who_is_not_logged_in_is_asked_to():
    for name in ("add", "changelist"):
        assert Client().get(reverse(f"admin:incidents_apitoken_{name}")).status_code == 302
    assert Client().get(reverse("admin:login")).status_code == 200


def test_a_token_is_made_and_revoked_on_record(anna):
    from django.contrib.admin.models import LogEntry

    client = make.client(allow_tokens(anna))
    add(client)
    client.post(reverse("admin:incidents_apitoken_revoke", args=[ApiToken.objects.get().pk]))
    entries = LogEntry.objects.order_by("pk")
    assert [one.user for one in entries] == [anna, anna]
    assert [one.change_message for one in entries] == ["Made: incidents:read.", "Revoked."]


def test_every_scope_is_used_by_an_operation():
    from commsportal.api import api

    document = api.get_openapi_schema()
    used = {scope for ms in document["paths"].values() for one in ms.values() for scope in one["security"][0]["Bearer"]}
    assert used == set(Scope.values)
