"""The checker, on phrases that companies really published and on drafts of our own."""

import json
import os
from collections import Counter
from datetime import timedelta
from pathlib import Path

import pytest
from django.contrib.auth.models import User
from django.utils import timezone

from incidents import declaring, rendering
from incidents.checker import Finding, Level, check, prose, reading
from incidents.models import IncidentUpdate, Stage
from tests import make

GOOD = {
    "en": {
        "subject": "Card payments fail in Italy",
        "issue": "Since 9:10 card payments fail at the last step.",
        "impact": "Customers who pay by card in Italy see an error. Bank transfers work.",
        "outlook": "We have found the cause and are repairing it. We will write again by {{ next_update }}.",
        "action": "Please pay by bank transfer, or wait for our next message.",
        "sms": "Card payments fail in Italy. Next update by {{ next_update }}.",
        "post": "Card payments fail in Italy. Next update by {{ next_update }}.",
    },
    "it": {
        "subject": "I pagamenti con carta non riescono in Italia",
        "issue": "Dalle 9:10 i pagamenti con carta non riescono all'ultimo passo.",
        "impact": "Chi paga con carta in Italia vede un errore. I bonifici funzionano.",
        "outlook": "Abbiamo trovato la causa e la stiamo riparando. Scriviamo di nuovo entro le {{ next_update }}.",
        "action": "Pagate con bonifico, oppure aspettate il prossimo messaggio.",
        "sms": "I pagamenti con carta non riescono. Prossimo aggiornamento entro le {{ next_update }}.",
        "post": "I pagamenti con carta non riescono. Prossimo aggiornamento entro le {{ next_update }}.",
    },
}


def codes(found: list[Finding]) -> set[str]:
    return {finding.code for finding in found}


def only(found: list[Finding], code: str) -> Finding:
    matching = [finding for finding in found if finding.code == code]
    assert len(matching) == 1, f"{code} in {found}"
    return matching[0]


@pytest.fixture(scope="module")
def world(shared_world) -> int:
    """A draft that says everything well, in two languages, by email, SMS and post: its key."""
    make.plan(make.channel(), make.channel("outbox_sms"), make.channel("outbox_post"))
    author = make.incident_manager(username="anna")
    update = make.incident(author).updates.get()
    update.incident.started_at = timezone.localtime().replace(hour=9, minute=10)
    update.incident.save()
    return update.edit(author, update.version, words=GOOD).pk


@pytest.fixture
def update(world: int, db: None) -> IncidentUpdate:
    return IncidentUpdate.objects.get(pk=world)


def write(update: IncidentUpdate, locale: str = "en", **words: str) -> IncidentUpdate:
    return update.edit(update.author, update.version, words={locale: words})


# ── Words alone ──


@pytest.mark.parametrize("locale", ["en", "it"])
def test_it_has_nothing_to_say_about_a_clear_message(locale):
    assert prose(GOOD[locale], locale) == []


@pytest.mark.parametrize(
    ("locale", "sentence"),
    [
        ("en", "We are working on it"),
        ("en", "We’re currently working on this"),
        ("en", "There is a problem"),
        ("en", "We are looking into it"),
        ("en", "Our team is investigating the issue"),
        ("en", "We are aware of an issue"),
        ("en", "We are aware of the problem and are working on it"),
        ("en", "We are working hard to fix the issue"),
        ("it", "Stiamo lavorando per risolvere"),
        ("it", "Stiamo lavorando per risolvere il problema"),
        ("it", "Ci stiamo lavorando"),
        ("it", "C’è un problema"),
        ("it", "Siamo a conoscenza del problema"),
        ("it", "I nostri tecnici sono al lavoro"),
    ],
)
def test_a_sentence_that_says_nothing_is_vague(locale, sentence):
    one = only(prose({"outlook": f"Dalle 9:10. {sentence}. {{{{ next_update }}}}"}, locale), "vague")
    assert (one.field, one.excerpt, one.start) == ("outlook", sentence, 12)
    assert (one.message, one.fix) == (
        "This sentence tells readers nothing that they can use.",
        "Say what is wrong or what you are doing: “We are restarting card payments”.",
    )


@pytest.mark.parametrize(
    ("locale", "sentence"),
    [
        ("en", "We are working on it with our card provider."),
        ("en", "We know the cause, a wrong setting, and we are working on it."),
        ("en", "There is a problem at checkout: card payments fail."),
        ("en", "We are looking into why card payments fail since 9:10."),
        ("en", "We are aware of an issue that stops card payments."),
        ("en", "Our engineers are looking for the cause."),
        ("it", "Stiamo lavorando per risolvere il guasto alla centrale di Milano."),
        ("it", "C’è un problema alla cassa: i pagamenti con carta non riescono."),
        ("it", "Stiamo lavorando alla riparazione."),
    ],
)
def test_a_sentence_with_something_in_it_is_not(locale, sentence):
    assert "vague" not in codes(prose({"outlook": sentence}, locale))


@pytest.mark.parametrize(
    ("locale", "phrase", "code", "excerpt"),
    [
        ("en", "We are investigating increased latency for Copilot Chat.", "jargon", "increased latency"),
        ("en", "We have failed over creation for new codespaces.", "jargon", "failed over"),
        ("en", "Requests returned 5xx errors.", "jargon", "5xx errors"),
        ("en", "A replica of the database is behind.", "jargon", "replica"),
        ("en", "The API endpoint is rolling back.", "jargon", "endpoint"),
        ("en", "We're seeing issues with some SAML logins.", "vague", "issues with"),
        ("en", "Some users may be unable to push.", "vague", "Some users"),
        ("en", "A fix will be in place as soon as possible.", "vague", "as soon as possible"),
        ("en", "We repair it as quickly as we can.", "vague", "as quickly as we can"),
        ("en", "Some users may be affected.", "vague", "Some users"),
        ("it", "Alcuni utenti potrebbero avere problemi.", "vague", "Alcuni utenti"),
        ("en", "Intermittent errors on checkout.", "vague", "Intermittent"),
        ("en", "You may be experiencing errors.", "vague", "may be experiencing"),
        (
            "en",
            "We apologize for any inconvenience this may have caused.",
            "manner",
            "We apologize for any inconvenience",
        ),
        ("it", "Stiamo riscontrando una latenza elevata.", "jargon", "latenza"),
        ("it", "È in corso il rollback del deploy.", "jargon", "rollback"),
        ("it", "Alcuni utenti non riescono ad accedere.", "vague", "Alcuni utenti"),
        ("it", "Il servizio sarà ripristinato al più presto.", "vague", "al più presto"),
        ("it", "Si segnalano problemi tecnici.", "vague", "problemi tecnici"),
        ("it", "I clienti potrebbero riscontrare rallentamenti.", "vague", "potrebbero riscontrare"),
        ("it", "Ci scusiamo per gli eventuali disagi.", "manner", "Ci scusiamo per gli eventuali disagi"),
    ],
)
def test_it_names_the_words_and_says_why_and_what_instead(locale, phrase, code, excerpt):
    found = [f for f in prose({"issue": phrase}, locale) if f.code == code and f.excerpt.startswith(excerpt)]
    assert found, prose({"issue": phrase}, locale)
    one = found[0]
    assert (one.locale, one.field) == (locale, "issue")
    assert phrase[one.start : one.end] == one.excerpt
    assert one.message
    assert one.fix
    assert not one.blocks


def test_it_reads_each_language_by_its_own_list():
    assert "jargon" not in codes(prose({"issue": "Abbiamo parlato di un node."}, "it"))
    assert prose({"issue": "Some users"}, "fr") == []


def test_names_of_components_and_placeholders_are_no_jargon():
    text = {"issue": "The Database API fails: {{ latency }} https://example.com/failover `rollback`."}
    assert codes(prose(text, "en", names=("Database API",))) == set()
    assert codes(prose(text, "en")) == {"jargon"}


@pytest.mark.parametrize(
    "subject", ["Incident update", "Update", "IMPORTANT NOTICE", "Service disruption", "Update #3"]
)
def test_a_subject_that_says_nothing_is_named(subject):
    assert "empty_subject" in codes(prose({"subject": subject}, "en"))


@pytest.mark.parametrize("subject", ["Aggiornamento incidente", "Avviso importante", "Comunicazione di servizio"])
def test_an_italian_subject_that_says_nothing_is_named(subject):
    assert "empty_subject" in codes(prose({"subject": subject}, "it"))


def test_a_subject_that_names_the_service_is_fine():
    assert codes(prose({"subject": "Update: card payments work again"}, "en")) == set()


def test_a_long_subject_shows_what_a_phone_cuts_off():
    subject = "Card payments fail " * 6
    assert only(prose({"subject": subject}, "en"), "long_subject").excerpt == subject[78:]


@pytest.mark.parametrize("text", ["PLEASE READ THIS NOTICE.", "It is down!!!", "Pay later !!"])
def test_shouting_is_named(text):
    assert codes(prose({"issue": text}, "en")) == {"shouting"}


@pytest.mark.parametrize("text", ["The REST API and SEPA work. Wow!", "IBAN, SMS, POS and VAT work."])
def test_acronyms_are_not_shouting(text):
    assert "shouting" not in codes(prose({"issue": text}, "en"))


def test_hard_english_names_its_longest_sentence():
    hard = (
        "Authentication infrastructure degradation necessitated comprehensive reconfiguration of interdependent "
        "authorisation components, consequently compromising transactional availability. We are sorry."
    )
    finding = only(prose({"issue": hard}, "en"), "hard")
    assert finding.excerpt == hard.split(". ")[0] + "."
    assert hard[finding.start : finding.end] == finding.excerpt


def test_hard_italian_names_its_longest_sentence():
    hard = (
        "L'indisponibilità dell'infrastruttura di autenticazione centralizzata ha conseguentemente determinato "
        "l'impossibilità di perfezionare operazioni dispositive precedentemente autorizzate. Ci dispiace."
    )
    assert only(prose({"impact": hard}, "it"), "hard").excerpt == hard.split(". ")[0] + "."


def test_the_indexes_agree_with_their_definitions():
    text = "The cat sat. The dog ran."  # 18 letters, 6 words, 2 sentences
    assert reading.coleman_liau(text) == pytest.approx(0.0588 * 300 - 0.296 * (100 * 2 / 6) - 15.8)
    assert reading.gulpease(text) == pytest.approx(89 + (300 * 2 - 10 * 18) / 6)
    assert reading.sentences("At 14.30 it broke. See example.com now") == [
        (0, "At 14.30 it broke."),
        (19, "See example.com now"),
    ]


# ── Against the data ──


def test_a_good_draft_is_clean(update):
    assert check(update) == []


def test_the_draft_of_every_stage_is_clean(world, db):
    author, component = User.objects.get(username="anna"), make.component()
    for stage in ("investigating", "identified", "monitoring", "resolved"):
        incident = make.incident(author, component)
        update = incident.updates.get()
        states = {str(component.pk): "operational" if stage == "resolved" else "major_outage"}
        update.withdraw(author)
        update = declaring.start_draft(incident, author, stage, states)
        assert [f for f in check(update) if f.level != Level.WARN or f.code != "jargon"] == [], stage


def test_an_empty_draft_is_blocked_once(update):
    for locale in ("en", "it"):
        write(update, locale, **dict.fromkeys(GOOD["en"], ""))
    assert [f.code for f in check(update) if f.code == "empty"] == ["empty"]
    assert "language_gap" not in codes(check(update))


def test_missing_issue_and_subject_block_and_missing_impact_warns(update):
    for locale in ("en", "it"):
        write(update, locale, subject="", issue="", impact="")
    found = check(update)
    assert {f.code: f.blocks for f in found} == {
        "missing_subject": True,
        "missing_issue": True,
        "missing_impact": False,
    }


def test_nothing_about_when_it_ends_is_named_unless_data_or_words_say_it(update):
    update.edit(update.author, update.version, next_update_at=None)
    for locale, text in (("en", "We are looking for the cause."), ("it", "Cerchiamo la causa.")):
        write(update, locale, outlook=text, sms=text, post=text)
    write(update, "en", action="")
    write(update, "it", action="")
    assert codes(check(update)) == {"missing_promise"}
    write(update, "en", outlook="We will write again within 40 minutes.")
    write(update, "it", outlook="Scriveremo di nuovo entro 40 minuti.")
    assert codes(check(update)) == set()


def test_a_resolved_update_needs_no_promise(update):
    states = dict.fromkeys(update.component_states, "operational")
    update.edit(update.author, update.version, stage=Stage.RESOLVED, next_update_at=None, component_states=states)
    for locale in ("en", "it"):
        write(update, locale, outlook="", sms="ok", post="ok", impact="")
    assert check(update) == []


@pytest.mark.parametrize("field", ["next_update_at", "expected_resolution_at"])
def test_a_promise_that_is_past_blocks(update, field):
    update.edit(update.author, update.version, **{field: timezone.now() - timedelta(minutes=1)})
    finding = only(check(update), "past")
    assert finding.field == field
    assert finding.blocks


def test_states_that_contradict_the_stage_are_named(update):
    update.edit(update.author, update.version, component_states=dict.fromkeys(update.component_states, "operational"))
    assert codes(check(update)) == {"states"}


def test_a_part_written_in_one_language_only_blocks_naming_both(update):
    write(update, "it", impact="")
    finding = next(f for f in check(update) if f.code == "language_gap")
    assert (finding.locale, finding.field, finding.blocks) == ("it", "impact", True)
    assert "English" in finding.message
    assert "Italian" in finding.message


def test_a_time_that_is_not_the_promised_one_is_named(update):
    at = timezone.localtime(timezone.now() + timedelta(days=1)).replace(hour=14, minute=30, second=0, microsecond=0)
    update.edit(update.author, update.version, next_update_at=at)
    write(update, "en", outlook="Next update by 15:45.")
    finding = only(check(update), "other_time")
    assert (finding.locale, finding.field, finding.excerpt) == ("en", "outlook", "15:45")
    assert "14:30" in finding.message
    write(update, "en", outlook="Next update by 2:30 pm.")
    assert check(update) == []


def test_languages_that_promise_different_times_are_named(update):
    write(update, "en", issue="It began at 9:10.")
    write(update, "it", issue="È cominciato alle 9.40.")
    finding = only(check(update), "language_time")
    assert (finding.locale, finding.excerpt) == ("it", "9.40")
    assert "9:10" in finding.message


def test_an_unknown_placeholder_blocks_with_a_suggestion(update):
    write(update, "en", issue="{{ componets }} fails.")
    finding = only(check(update), "placeholder")
    assert finding.blocks
    assert "did you mean {{ components }}?" in finding.message


def test_a_placeholder_without_a_value_blocks_and_says_which(update):
    write(update, "en", outlook="Over by {{ expected_resolution }}. Next update by {{ next_update }}.")
    finding = only(check(update), "placeholder")
    assert finding.excerpt == "{{ expected_resolution }}"
    assert finding.blocks
    write(update, "en", outlook="Over by {{ expected_resolution | default: 'tonight' }}. Again by {{ next_update }}.")
    assert check(update) == []


@pytest.mark.parametrize("token", ["[[name]]", "[[unsubscribe_url]]", "[[nmae]]"])
@pytest.mark.parametrize("field", ["issue", "post", "sms"])
def test_a_personal_value_blocks_as_everybody_reads_the_same_words(update, field, token):
    write(update, "en", **{field: f"Dear {token}, card payments fail."})
    finding = only(check(update), "placeholder")
    assert (finding.field, finding.excerpt, finding.level) == (field, token, Level.BLOCK)


# ── Channels ──


def test_an_sms_that_is_too_long_names_its_segments(update):
    write(update, "en", sms="x" * 500)
    finding = only(check(update), "too_long")
    assert finding.blocks
    assert finding.message == "SMS: 4 segments (limit 3)."


def test_an_sms_names_the_character_that_makes_it_long(update):
    write(update, "en", sms="It’s down. " + "x" * 250)
    assert only(check(update), "too_long").message == "SMS: 4 segments (limit 3), because ’ forces UCS-2."


def test_a_post_counts_as_the_network_counts(update):
    write(update, "en", post="https://example.com/" + "a" * 400)
    assert "too_long" not in codes(check(update))
    write(update, "en", post="a" * 300)
    finding = only(check(update), "too_long")
    assert "300" in finding.message
    assert "280" in finding.message


def test_a_long_post_is_no_obstacle_where_it_becomes_a_thread(update):
    update.channels.set([make.channel("x")])
    write(update, "en", post="Card payments fail. " * 20)
    finding = only(check(update), "thread")
    assert finding.level == Level.HINT
    assert "2 posts" in finding.message
    assert "too_long" not in codes(check(update))


@pytest.mark.parametrize(
    ("provider", "text", "weight"),
    [("x", "付" * 150, 300), ("bluesky", "é" * 301, 301), ("bluesky", "付" * 1001, 1001), ("mastodon", "é" * 501, 501)],
)
def test_each_network_counts_in_its_own_way(update, provider, text, weight):
    """X counts 付 twice; Bluesky once, or its bytes if there are more than ten to a character; Mastodon once."""
    update.channels.set([make.channel(provider)])
    write(update, "en", post=text)
    assert f": {weight} characters" in only(check(update), "thread").message
    write(update, "en", post=text[:140])
    assert "thread" not in codes(check(update))


def test_a_subject_that_a_topic_would_refuse_blocks(update):
    update.channels.add(make.channel("sns_topic"))
    write(update, "en", subject="x" * 120)
    finding = only(check(update), "too_long")
    assert (finding.field, finding.blocks) == ("subject", True)
    assert finding.message == "Subject: 120 characters (limit 99)."


def test_a_chosen_channel_needs_its_words(update):
    write(update, "it", sms="")
    finding = only(check(update), "missing_words")
    assert (finding.locale, finding.field, finding.blocks) == ("it", "sms", True)


def test_lengths_do_not_matter_when_nobody_is_notified(update):
    write(update, "en", sms="x" * 900)
    update.edit(update.author, update.version, notify=False)
    assert check(update) == []


def test_a_broadcast_channel_needs_only_its_own_languages(update):
    channel = update.channels.get(provider="outbox_post")
    channel.locales = ["en"]
    channel.save()
    write(update, "it", post="")
    assert check(update) == []


def test_a_channel_that_is_off_blocks_and_one_that_is_paused_warns(update):
    one, two, _three = update.channels.order_by("pk")
    one.enabled = False
    one.save()
    two.paused_at, two.paused_reason = timezone.now(), "wrong password"
    two.save()
    found = {f.code: f for f in check(update)}
    assert found["channel_off"].blocks
    assert not found["channel_paused"].blocks
    assert "wrong password" in found["channel_paused"].message


def test_no_channel_at_all_is_named(update):
    update.edit(update.author, update.version, channels=[])
    assert codes(check(update)) == {"no_channel"}


def test_what_was_changed_in_one_language_alone_is_told_to_the_other(update):
    rendering.write_draft(update, ["en", "it"])
    assert "changed_alone" not in codes(check(update))
    prepared = update.renditions.get(locale="it").impact
    write(update, impact="Refunds and the web shop work again.")
    found = only(check(update), "changed_alone")
    assert (found.locale, found.field, found.level) == ("it", "impact", Level.WARN)
    assert (
        found.message
        == "“Who is affected, and how” was changed in English, and still says in Italian what was prepared."
    )
    write(update, "it", impact=f"{prepared} Rimborsi e negozio funzionano.")
    assert "changed_alone" not in codes(check(update))


def test_it_changes_nothing_and_asks_the_database_a_fixed_number_of_times(update, django_assert_max_num_queries):
    update.refresh_from_db()
    with django_assert_max_num_queries(
        9
    ):  # one of them for the picture, one for where readers find it, one for templates
        check(update)
    for number in range(4):
        update.channels.add(make.channel("outbox_sms", f"more {number}"))
    with django_assert_max_num_queries(
        9
    ):  # one of them for the picture, one for where readers find it, one for templates
        check(update)


# ── What GitHub really wrote ──


def _history() -> Path | None:
    root = Path(__file__).resolve().parents[2]
    for folder in (os.environ.get("SHARED_DATA"), root.parent / "shared/data"):
        path = Path(folder) / "github-incidents-2022-2026.jsonl" if folder else None
        if path and path.exists():
            return path
    return None


def test_on_four_years_of_real_updates_it_finds_what_a_reader_would():
    path = _history()
    if path is None:
        pytest.skip("github-incidents-2022-2026.jsonl is absent: set SHARED_DATA to its folder")
    texts = [u["message"] for line in path.read_text().splitlines() for u in json.loads(line)["updates"]]
    findings = [prose({"issue": text}, "en") for text in texts]
    found = Counter(code for one in findings for code in codes(one))
    assert len(texts) > 4000
    # These are engineers' updates: more than a quarter use their words, and a tenth is vague.
    assert found["jargon"] > len(texts) / 4
    assert found["vague"] > len(texts) / 10
    # Yet the checker stays quiet where nothing is wrong.
    assert found["shouting"] < len(texts) / 100
    assert sum(not one for one in findings) > len(texts) / 3
    common = "We are investigating reports of degraded performance for Codespaces."
    assert common in texts
    assert prose({"issue": common}, "en") == []
