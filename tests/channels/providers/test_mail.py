import re
from email import policy
from email.parser import BytesParser

from hypothesis import given, settings
from hypothesis import strategies as st

from channels.providers.base import Addressee, personalise
from channels.providers.mail import Letter

from .conftest import make_message

# Whatever could break lines, encodings, boundaries or the SMTP dialogue.
NASTY = st.text(
    alphabet=st.sampled_from("ab .=_-\n\t<>&è’😀\u2028:") | st.characters(codec="utf-8", exclude_characters="\r\0")
)
TEXTS = st.lists(NASTY | st.sampled_from(["[[name]]", "[[unknown]]", "\n.\n", "--=_", "=\n", "x" * 120]), min_size=1)


def parse(data: bytes):
    return BytesParser(policy=policy.default).parsebytes(data)


def lines(text: str) -> list[str]:
    return text.removesuffix("\n").split("\n")


@settings(deadline=None, max_examples=150)
@given(pieces=TEXTS, name=NASTY)
def test_substituting_bytes_gives_what_encoding_each_message_would(pieces, name):
    text, values = "a" + "".join(pieces), {"name": name}
    data = Letter(make_message(parts={"text": text, "html": text}), "status@example.org").to(
        Addressee("a@example.com", name, "1", values)
    )
    assert data.isascii()
    assert b"\n" not in data.replace(b"\r\n", b"")
    bodies = data.split(b"\r\n\r\n", 1)[1].split(b"\r\n")
    assert max(map(len, bodies)) <= 76
    mail = parse(data)
    for part, html in (("plain", False), ("html", True)):
        found = mail.get_body((part,)).get_payload(decode=True).decode().replace("\r\n", "\n")
        assert lines(found) == lines(personalise(text, values, html))


@given(name=NASTY, subject=NASTY)
def test_no_name_or_subject_can_add_a_header(name, subject):
    message = make_message(parts={"subject": f"Down: {subject}"})
    data = Letter(message, "status@example.org", name).to(Addressee("a@example.com", name, "1", {"name": name}))
    names = [line.split(b":")[0].decode() for line in data.split(b"\r\n\r\n")[0].split(b"\r\n")]
    assert names == [
        "From",
        "Date",
        "MIME-Version",
        "Content-Type",
        "Auto-Submitted",
        "List-Id",
        "In-Reply-To",
        "References",
        "Content-Language",
        "To",
        "Subject",
        "Message-ID",
    ]


def test_non_ascii_names_and_subjects_survive():
    message = make_message(
        parts={"subject": "Pagamenti con carta: interruzione parziale — più di un’ora, perché no? 😀"}
    )
    mail = parse(Letter(message, "status@example.org", "Società Esempio").to(Addressee("a@example.com", "Łukasz, Jr.")))
    assert mail["Subject"] == message.parts["subject"]
    assert mail["To"].addresses[0].display_name == "Łukasz, Jr."
    assert mail["From"].addresses[0].display_name == "Società Esempio"


def test_message_ids_differ_between_incidents_and_recipients():
    one, other = Addressee("a@example.com", key="1-1"), Addressee("b@example.com", key="1-2")
    found = {
        re.search(rb"Message-ID: (.*)\r", Letter(make_message(thread=thread), "s@example.org").to(who))[1]
        for thread in ("incident-a", "incident-b")
        for who in (one, other)
    }
    assert len(found) == 4
