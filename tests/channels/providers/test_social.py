"""What the social networks share. How each of them threads is tested with it."""

import pytest
from django import forms

from channels.errors import Permanent
from channels.providers.social import ServerField, publish


@pytest.mark.parametrize(
    ("given", "cleaned"),
    [
        ("https://mastodon.social", "https://mastodon.social"),
        (" Mastodon.Social/ ", "https://mastodon.social"),
        ("https://social.example.org:8443/", "https://social.example.org:8443"),
        ("https://xn--mnchen-3ya.example", "https://xn--mnchen-3ya.example"),
    ],
)
def test_a_server_is_its_host(given, cleaned):
    assert ServerField().clean(given) == cleaned


@pytest.mark.parametrize(
    "given",
    [
        *["http://mastodon.social", "https://mastodon.social/@status", "https://localhost", "https://10.0.0.1"],
        *["@status@mastodon.social", "https://mastodon.social?a=b", "ftp://a.example", "https://[::1]", "https://"],
    ],
)
def test_what_is_no_server_is_named_with_the_fix(given):
    with pytest.raises(forms.ValidationError) as caught:
        ServerField().clean(given)
    assert f"“{given}” is not a server's address: write https:// and its name" in caught.value.messages[0]


def test_a_password_in_an_address_is_not_repeated():
    with pytest.raises(forms.ValidationError) as caught:
        ServerField().clean("https://status:geheim@mastodon.social")
    assert "geheim" not in str(caught.value)


def test_what_cannot_be_cut_is_refused_before_anything_is_public():
    said = []
    outcome = publish("Hello. https://status.example.com/" + "a" * 50, lambda one, before: said.append(one), 40, len)
    assert type(outcome.error) is Permanent
    assert outcome.error.code == "too-long"
    assert "40 characters" in outcome.error.detail
    assert said == []
