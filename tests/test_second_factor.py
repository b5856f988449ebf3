"""The second step of the login: nobody with a factor gets in without it, and who must have one does nothing without."""

import time
from datetime import timedelta
from typing import Any
from urllib.parse import quote

import pytest
from allauth.mfa.models import Authenticator
from allauth.mfa.totp.internal.auth import format_hotp_value, hotp_value
from cryptography.fernet import Fernet
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import User
from django.contrib.sessions.models import Session
from django.core.management import CommandError, call_command
from django.test import Client
from django.urls import NoReverseMatch, get_resolver, reverse
from django.utils import timezone

from commsportal import second_factor
from incidents import roles
from tests import make

pytestmark = pytest.mark.django_db
LOGIN, STEP, OWN = "/admin/login/", "/admin/login/second-step/", "/admin/two-step/"


def code(secret: str, ago: int = 0) -> str:
    """What the app shows now, or showed some seconds ago."""
    return format_hotp_value(hotp_value(secret, int(time.time() - ago) // 30))


def typed(who: User, password: str = "pw", **query: str) -> Client:
    """A browser in which this password was typed."""
    client = Client()
    client.post(LOGIN + ("?next=" + quote(query["next"]) if query else ""), {"username": who, "password": password})
    return client


def is_in(client: Client) -> bool:
    return client.get("/admin/").status_code == 200


def sure(who: User) -> Client:
    """Logged in a moment ago, with the second step if there is one."""
    client = make.client(who)
    session = client.session
    session[second_factor.SURE] = int(time.time())
    session[second_factor.PASSED] = second_factor.has(who)
    session.save()
    return client


def history(who: User) -> list[str]:
    return [one.get_change_message() for one in LogEntry.objects.filter(object_id=str(who.pk)).order_by("pk")]


@pytest.fixture
def anna() -> User:
    return make.communications_manager(username="anna", first_name="Anna")


@pytest.fixture
def boss() -> User:
    return User.objects.create_superuser("boss", "boss@example.com", "pw")


# ── The login ───────────────────────────────────────────────────────────────


def test_without_a_factor_the_password_is_enough(anna):
    assert is_in(typed(anna))


def test_with_one_the_password_opens_nothing(anna):
    make.factor(anna)
    client = Client()
    response = client.post(LOGIN, {"username": "anna", "password": "pw"})
    assert response.url == STEP
    assert "_auth_user_id" not in client.session
    for path in ("/admin/", OWN, reverse("admin:incidents_incident_changelist"), "/admin/password_change/"):
        assert client.get(path).url.startswith(LOGIN), path
    assert "Code of your authenticator app" in client.get(STEP).content.decode()


def test_the_code_of_the_app_logs_in_and_goes_where_one_wanted_to(anna):
    secret = make.factor(anna)
    client = typed(anna, next="/admin/incidents/incident/")
    response = client.post(STEP, {"code": code(secret)})
    assert response.url == "/admin/incidents/incident/"
    assert is_in(client)
    assert Authenticator.objects.get(user=anna).last_used_at
    assert second_factor.PENDING not in client.session


def test_nobody_is_led_to_another_site(anna):
    secret = make.factor(anna)
    client = typed(anna, next="https://evil.example.com/")
    assert client.post(STEP, {"code": code(secret)}).url == "/admin/"


def test_a_code_of_half_a_minute_ago_is_good_and_an_older_one_is_not(anna):
    secret = make.factor(anna)
    assert not is_in(tried(anna, code(secret, ago=90)))
    assert is_in(tried(anna, code(secret, ago=30)))


def tried(who: User, given: str) -> Client:
    client = typed(who)
    client.post(STEP, {"code": given})
    return client


def test_a_code_opens_once(anna):
    secret = make.factor(anna)
    used = code(secret)
    assert is_in(tried(anna, used))
    assert not is_in(tried(anna, used))


@pytest.mark.parametrize(("language", "said"), [("en", "used already"), ("it", "già stato usato")])
def test_a_code_that_has_opened_once_is_called_used_and_a_wrong_one_wrong(anna, language, said):
    used = code(make.factor(anna))
    tried(anna, used)
    client = typed(anna)
    assert said in client.post(STEP, {"code": used}, headers={"accept-language": language}).text
    assert said not in client.post(STEP, {"code": "1"}, headers={"accept-language": language}).text


@pytest.mark.parametrize("given", ["", "000000x", "1", "x" * 50, "\0", "１２３４５６", "' OR 1=1 --", "<script>"])
def test_anything_else_is_refused_in_words(anna, given):
    make.factor(anna)
    client = typed(anna)
    response = client.post(STEP, {"code": given})
    assert response.status_code == 200
    assert "errornote" in response.content.decode()
    assert not is_in(client)


def test_after_five_wrong_codes_even_the_right_one_waits(anna, time_machine):
    secret = make.factor(anna)
    client = typed(anna)
    for _n in range(5):
        assert "Incorrect code" in client.post(STEP, {"code": "1"}).content.decode()
    assert "Too many failed login attempts" in client.post(STEP, {"code": code(secret)}).content.decode()
    other = Client(REMOTE_ADDR="10.0.0.9")  # from elsewhere neither: who guesses has many addresses
    other.post(LOGIN, {"username": "anna", "password": "pw"})
    assert "Too many failed login attempts" in other.post(STEP, {"code": code(secret)}).content.decode()
    time_machine.move_to(timezone.now() + timedelta(minutes=6))
    assert is_in(tried(anna, code(secret)))


def test_a_recovery_code_opens_once_in_place_of_the_app(anna):
    make.factor(anna)
    [first, *_rest] = codes_of(sure(anna))
    assert is_in(tried(anna, first))
    assert not is_in(tried(anna, first))


def codes_of(client: Client) -> list[str]:
    client.post(OWN + "codes/")
    return client.get(OWN + "codes/").context["codes"]


def test_the_second_step_is_taken_soon_or_not_at_all(anna, time_machine):
    secret = make.factor(anna)
    client = typed(anna)
    time_machine.move_to(timezone.now() + timedelta(minutes=11))
    assert client.post(STEP, {"code": code(secret)}).url == LOGIN
    assert not is_in(client)


def test_the_step_alone_opens_nothing(anna):
    secret = make.factor(anna)
    client = Client()
    for answer in (client.get(STEP), client.post(STEP, {"code": code(secret)})):
        assert answer.url == LOGIN
    assert "took too long" in client.get(LOGIN).content.decode()


@pytest.mark.parametrize("change", [{"is_active": False}, {"is_staff": False}])
def test_between_the_steps_the_login_may_be_taken_away(anna, change):
    secret = make.factor(anna)
    client = typed(anna)
    User.objects.filter(pk=anna.pk).update(**change)
    assert client.post(STEP, {"code": code(secret)}).url == LOGIN


def test_between_the_steps_a_changed_password_ends_the_login(anna):
    secret = make.factor(anna)
    client = typed(anna)
    anna.set_password("other")
    anna.save()
    assert client.post(STEP, {"code": code(secret)}).url == LOGIN


def test_the_code_of_somebody_else_does_not_open(anna):
    make.factor(anna)
    assert not is_in(tried(anna, code(make.factor(make.user()))))


@pytest.mark.parametrize(
    "credential",
    [
        "",
        "null",
        "[]",
        "{}",
        "1",
        '"x"',
        "{",
        '{"id": "x"}',
        '{"rawId": "x", "response": {}}',
        "\0",
        '{"response": null}',
        '{"id":"AA","rawId":"AA","type":"public-key","response":{"clientDataJSON":"AA","authenticatorData":"AA"}}',
    ],
)
def test_a_passkey_that_no_browser_made_is_refused(anna, credential):
    Authenticator.objects.create(user=anna, type="webauthn", data={"name": "Key", "credential": REGISTERED})
    client = typed(anna)
    assert "Use a passkey" in client.get(STEP).content.decode()
    assert client.post(STEP, {"credential": credential}).status_code == 200
    assert not is_in(client)
    client = sure(anna)
    assert client.post(OWN + "passkey/", {"credential": credential, "name": "x"}).status_code == 200
    assert Authenticator.objects.filter(user=anna).count() == 1


# What a browser gave when it made a passkey for localhost.
REGISTERED: dict[str, Any] = {
    "type": "public-key",
    "id": "Bf3duUOMpspT7RQ96_HG3OlgUypGzR6KxQJGWIrKcVk",
    "rawId": "Bf3duUOMpspT7RQ96_HG3OlgUypGzR6KxQJGWIrKcVk",
    "response": {
        "clientDataJSON": (
            "eyJ0eXBlIjoid2ViYXV0aG4uY3JlYXRlIiwiY2hhbGxlbmdlIjoiZXpoakhkN2c3YnAyV1EyVkVaM3h2bll5U1dv"
            "WThDX1RPSzZ2dTNadTdhbyIsIm9yaWdpbiI6Imh0dHA6Ly9sb2NhbGhvc3Q6NjAzNjMiLCJjcm9zc09yaWdpbiI6"
            "ZmFsc2UsIm90aGVyX2tleXNfY2FuX2JlX2FkZGVkX2hlcmUiOiJkbyBub3QgY29tcGFyZSBjbGllbnREYXRhSlNP"
            "TiBhZ2FpbnN0IGEgdGVtcGxhdGUuIFNlZSBodHRwczovL2dvby5nbC95YWJQZXgifQ"
        ),
        "attestationObject": (
            "o2NmbXRkbm9uZWdhdHRTdG10oGhhdXRoRGF0YVikSZYN5YgOjGh0NBcPZHZgW4_krrmihjLHmVzzuoMdl2NFAAAA"
            "AQECAwQFBgcIAQIDBAUGBwgAIAX93blDjKbKU-0UPevxxtzpYFMqRs0eisUCRliKynFZpQECAyYgASFYIA51xY1V"
            "ytu-Sa6e9mI6_n4sWzBbSsR7zM9Bf5NzP_GbIlggIbMtfdJAX95w80Mco8VNjQR3p4h25vBhOb9JZQXynsQ"
        ),
    },
    "clientExtensionResults": {"credProps": {}},
}


def test_no_other_way_in_is_served():
    """Nothing of allauth's accounts: no sign-up, no reset by email, no second login."""
    patterns = [str(one.pattern) for one in get_resolver().url_patterns]
    assert not [one for one in patterns if "account" in one or "mfa" in one]
    for name in ("account_login", "account_signup", "account_reset_password", "account_email", "mfa_index"):
        with pytest.raises(NoReverseMatch):
            reverse(name)
    for path in ("/accounts/login/", "/accounts/signup/", "/accounts/password/reset/", "/admin/mfa/authenticator/"):
        assert Client().get(path).status_code in (302, 404)  # 302: to the login of the admin


def test_secrets_have_no_page(boss):
    client = make.client(boss)
    for path in ("/admin/mfa/authenticator/", "/admin/account/emailaddress/"):
        assert client.get(path).status_code == 404


# ── One's own ───────────────────────────────────────────────────────────────


def test_an_app_is_added_by_its_code_and_recovery_codes_come_with_it(anna):
    client = sure(anna)
    page = client.get(OWN + "app/")
    assert "data:image/svg+xml;base64," in page.content.decode()
    secret = page.context["secret"].replace(" ", "")
    assert "Incorrect code" in client.post(OWN + "app/", {"code": "1"}).content.decode()
    assert not second_factor.has(anna)
    assert client.get(OWN).context["factors"] == []
    page = client.get(OWN + "app/")  # each look makes another key
    assert page.context["secret"].replace(" ", "") != secret
    secret = page.context["secret"].replace(" ", "")
    assert client.post(OWN + "app/", {"code": code(secret)}).url == OWN + "codes/"
    assert len(client.get(OWN + "codes/").context["codes"]) == 10
    assert second_factor.has(anna)
    assert history(anna) == ["Second factor added: authenticator app."]
    assert is_in(client)
    assert is_in(tried(anna, code(secret, ago=30)))
    assert client.get(OWN + "app/").url == OWN  # one is enough


def test_the_first_factor_ends_every_other_session_of_the_person(anna):
    elsewhere, stranger = typed(anna), make.client(make.user())
    client = sure(anna)
    secret = client.get(OWN + "app/").context["secret"].replace(" ", "")
    client.post(OWN + "app/", {"code": code(secret)})
    assert (is_in(client), is_in(elsewhere), is_in(stranger)) == (True, False, True)


def test_secrets_are_encrypted_where_they_are_kept(anna):
    secret = make.factor(anna)
    client = sure(anna)
    shown = codes_of(client)
    kept = str(list(Authenticator.objects.values_list("data", flat=True)))
    assert secret not in kept
    assert not any(one in kept for one in shown)


@pytest.mark.parametrize("page", ["app/", "passkey/", "codes/", "{pk}/remove/"])
@pytest.mark.parametrize("method", ["get", "post"])
def test_a_screen_that_was_left_open_changes_nothing(anna, page, method, time_machine):
    make.factor(anna)
    client = sure(anna)
    time_machine.move_to(timezone.now() + timedelta(minutes=11))
    path = OWN + page.format(pk=second_factor.of(anna)[0].pk)
    answer = getattr(client, method)(path)
    assert answer.url == f"{OWN}confirm/?next={path}"
    assert "This is not your password" in client.post(answer.url, {"password": "other"}).content.decode()
    assert client.get(path).status_code == 302
    assert client.post(answer.url, {"password": "pw"}).url == path
    assert client.get(path).status_code == 200 or page == "app/"
    assert second_factor.has(anna)


def test_the_password_is_not_guessed_there(anna):
    client = make.client(anna)
    for _n in range(10):
        client.post(OWN + "confirm/", {"password": "no"})
    assert "Too many tries" in client.post(OWN + "confirm/", {"password": "pw"}).content.decode()


@pytest.mark.parametrize("then", ["https://evil.example.com/", "//evil.example.com", "javascript:alert(1)", ""])
def test_confirming_leads_nowhere_else(anna, then):
    answer = make.client(anna).post(f"{OWN}confirm/?next={quote(then)}", {"password": "pw"})
    assert answer.url == OWN


def test_removing_the_last_one_takes_the_recovery_codes_and_other_sessions_along(anna):
    make.factor(anna)
    client, other = sure(anna), sure(anna)
    codes_of(client)
    path = f"{OWN}{second_factor.of(anna)[0].pk}/remove/"
    assert "It is the last" in client.get(path).content.decode()
    assert second_factor.has(anna)
    client.post(path)
    assert not Authenticator.objects.filter(user=anna).exists()
    assert (is_in(client), is_in(other), is_in(typed(anna))) == (True, False, True)
    assert history(anna)[-1] == "Second factor removed: authenticator app."


def test_nobody_touches_those_of_others_there(anna):
    make.factor(anna)
    other = make.user()
    make.factor(other)
    client = sure(other)
    pk = second_factor.of(anna)[0].pk
    for method in (client.get, client.post):
        assert method(f"{OWN}{pk}/remove/").status_code == 404
    assert second_factor.has(anna)


def test_a_session_that_took_no_second_step_sees_none_of_it(anna):
    make.factor(anna)
    client = make.client(anna)
    for page in ("", "app/", "passkey/", "codes/", "confirm/"):
        assert client.get(OWN + page).url.startswith(LOGIN)
    assert "_auth_user_id" not in client.session


def test_new_codes_make_the_old_ones_worthless(anna):
    make.factor(anna)
    client = sure(anna)
    [old, *_rest] = codes_of(client)
    assert old not in codes_of(client)
    assert not is_in(tried(anna, old))
    assert "New recovery codes made." in history(anna)


def test_without_a_factor_there_are_no_codes(anna):
    assert sure(anna).get(OWN + "codes/").url == OWN


def test_the_menu_of_the_person_leads_there(anna):
    html = make.client(anna).get("/admin/").content.decode()
    assert f'href="{OWN}"' in html
    assert 'href="/admin/password_change/"' in html


@pytest.mark.parametrize(("host", "works"), [("localhost:8000", True), ("127.0.0.1:8000", False), ("[::1]", False)])
def test_a_passkey_is_offered_where_browsers_make_one(anna, host, works):
    html = sure(anna).get(OWN, headers={"host": host}).content.decode()
    assert ("Add a passkey" in html) is works
    assert ("Passkeys need an address with a name" in html) is not works


def test_the_page_asks_as_much_for_many_factors_as_for_one(anna, django_assert_max_num_queries):
    make.factor(anna)
    client = sure(anna)
    with django_assert_max_num_queries(16) as one:
        client.get(OWN)
    for n in range(5):
        Authenticator.objects.create(user=anna, type="webauthn", data={"name": f"Key {n}", "credential": REGISTERED})
    with django_assert_max_num_queries(16) as many:
        client.get(OWN)
    assert len(one) == len(many)


# ── Required ────────────────────────────────────────────────────────────────


@pytest.fixture
def required(settings):
    settings.STAFF_MFA = "required"


@pytest.mark.usefixtures("required")
def test_who_decides_and_has_none_is_led_to_set_one_up_and_can_do_nothing_else(anna):
    client = typed(anna)
    pages = [
        "admin:index",
        "admin:incidents_incident_changelist",
        "admin:password_change",
        "admin:incidents_apitoken_add",
    ]
    for name in pages:
        for method in (client.get, client.post):
            assert method(reverse(name)).url == OWN, name
    assert "First set up a second step" in client.get(OWN).content.decode()
    secret = client.get(OWN + "app/").context["secret"].replace(" ", "")
    client.post(OWN + "app/", {"code": code(secret)})
    assert is_in(client)
    assert client.post("/admin/logout/").status_code == 200


@pytest.mark.usefixtures("required")
@pytest.mark.parametrize(
    ("groups", "must"),
    [
        ([roles.INCIDENT_MANAGERS], True),
        ([roles.COMMUNICATIONS_MANAGERS], True),
        ([roles.SUPPORT_LEADS], False),
        ([roles.MANAGERS], False),
        ([], False),
    ],
)
def test_it_is_asked_of_who_approves_or_sends(groups, must):
    assert is_in(typed(make.user(*groups))) is not must


@pytest.mark.usefixtures("required")
def test_it_is_asked_of_administrators_who_could_take_it_from_others(boss):
    assert not is_in(typed(boss))


@pytest.mark.usefixtures("required")
def test_the_last_one_stays(anna):
    make.factor(anna)
    client = sure(anna)
    client.post(f"{OWN}{second_factor.of(anna)[0].pk}/remove/")
    assert second_factor.has(anna)
    assert "this is the last" in client.get(OWN).content.decode()


@pytest.mark.usefixtures("required")
def test_a_session_that_took_no_second_step_ends(anna):
    make.factor(anna)
    client = make.client(anna)
    assert client.get("/admin/incidents/incident/").url == f"{LOGIN}?next=/admin/incidents/incident/"
    assert "_auth_user_id" not in client.session


def test_a_page_costs_as_many_queries_where_it_is_required(anna, settings, django_assert_max_num_queries):
    make.factor(anna)
    client, counts = sure(anna), []
    path = reverse("admin:incidents_incident_changelist")
    client.get(path)  # content types and the like are looked up once
    for settings.STAFF_MFA in ("optional", "required"):
        with django_assert_max_num_queries(40) as captured:
            client.get(path)
        counts.append(len(captured))
    assert counts[0] == counts[1]


# ── Lost ────────────────────────────────────────────────────────────────────


def test_an_administrator_removes_lost_ones_after_a_question(anna, boss):
    make.factor(anna)
    hers, client = sure(anna), make.client(boss)
    page = reverse("admin:auth_user_change", args=[anna.pk])
    button = reverse("admin:auth_user_reset_button", args=[anna.pk])
    assert button in client.get(page).content.decode()
    path = client.get(button).url
    html = client.get(path).content.decode()
    assert "Remove the second factors of Anna" in html
    assert "Authenticator app" in html
    assert second_factor.has(anna)
    assert client.post(path).url == page
    assert not Authenticator.objects.filter(user=anna).exists()
    assert not is_in(hers)
    assert is_in(typed(anna))
    [entry] = LogEntry.objects.filter(object_id=str(anna.pk))
    assert (entry.user, entry.get_change_message()) == (boss, "All second factors removed.")
    assert button not in client.get(page).content.decode()


def test_nobody_else_does(anna, boss):
    make.factor(anna)
    make.factor(boss)
    path = reverse("admin:auth_user_second_factors", args=[anna.pk])
    for who in (make.incident_manager(), make.user(roles.MANAGERS), make.user()):
        assert make.client(who).post(path).status_code in (302, 403, 404)
    helper = make.user()
    helper.user_permissions.set(permissions("view_user", "change_user"))
    client = make.client(helper)
    assert client.post(reverse("admin:auth_user_second_factors", args=[boss.pk])).status_code == 403
    assert (second_factor.has(anna), second_factor.has(boss)) == (True, True)
    client.post(path)
    assert not second_factor.has(anna)


def permissions(*codenames: str) -> Any:
    from django.contrib.auth.models import Permission

    return Permission.objects.filter(codename__in=codenames)


def test_the_command_removes_them_where_nobody_can_log_in(boss, capsys):
    make.factor(boss)
    call_command("remove_second_factors", "boss")
    assert capsys.readouterr().out == "1 second factor removed.\n"
    assert not second_factor.has(boss)
    assert history(boss) == ["All second factors removed."]
    with pytest.raises(CommandError, match="nobody of the username “nobody”"):
        call_command("remove_second_factors", "nobody")


def test_ones_own_are_removed_on_ones_own_page(boss):
    make.factor(boss)
    path = reverse("admin:auth_user_second_factors", args=[boss.pk])
    assert sure(boss).post(path).url == OWN
    assert second_factor.has(boss)


def test_the_list_of_people_shows_who_has_one(anna, boss, django_assert_max_num_queries):
    make.factor(anna)
    client = make.client(boss)
    path = reverse("admin:auth_user_changelist")
    for query, names in {"?second_factor=yes": {"anna"}, "?second_factor=no": {"boss"}, "": {"anna", "boss"}}.items():
        assert {one.username for one in client.get(path + query).context["cl"].result_list} == names
    counts = []
    for _round in range(2):
        with django_assert_max_num_queries(30) as captured:
            client.get(path)
        counts.append(len(captured))
        for _n in range(5):
            make.factor(make.incident_manager())
    assert counts[0] == counts[1]


# ── Keys ────────────────────────────────────────────────────────────────────


def test_their_secrets_follow_the_keys(anna, settings):
    old, new = Fernet.generate_key().decode(), Fernet.generate_key().decode()
    settings.FIELD_KEYS = [old]
    secret = make.factor(anna)
    shown = codes_of(sure(anna))
    settings.FIELD_KEYS = [new, old]
    call_command("rotate_keys")
    settings.FIELD_KEYS = [new]
    assert codes_of_page(anna) == shown
    assert is_in(tried(anna, code(secret)))


def codes_of_page(who: User) -> list[str]:
    return sure(who).get(OWN + "codes/").context["codes"]


def test_a_lost_key_lets_nobody_in_and_is_told(anna, settings):
    secret = make.factor(anna)
    codes_of(sure(anna))
    settings.FIELD_KEYS = [Fernet.generate_key().decode()]
    client = typed(anna)
    assert "cannot read this factor any more" in client.post(STEP, {"code": code(secret)}).content.decode()
    assert not is_in(client)
    assert codes_of_page(anna) == []
    with pytest.raises(CommandError, match="second factors"):
        call_command("rotate_keys")


def test_ending_sessions_leaves_those_of_others_and_of_nobody(anna):
    typed(anna)
    make.client(make.user())
    Client().get(LOGIN)
    before = Session.objects.count()
    second_factor.end_sessions(anna)
    assert Session.objects.count() == before - 1
