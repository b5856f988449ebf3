"""Addresses as people type, paste and forge them."""

import pytest
from django.utils import translation

from channels.addresses import https_url, normalise


@pytest.mark.parametrize(
    ("medium", "typed", "kept"),
    [
        ("email", " Anna@Example.COM\n", "Anna@example.com"),
        ("email", "\u200banna@example.com\ufeff", "anna@example.com"),
        ("email", "anna@ＥＸＡＭＰＬＥ.com", "anna@example.com"),
        ("email", "anna@müller.example", "anna@müller.example"),
        ("sms", "\u202a+39 333 123 4567\u202c", "+393331234567"),
        ("sms", "0039 333-123.4567", "+393331234567"),
        ("sms", "+44 (0)20 7123 4567", "+442071234567"),
        ("sms", "+٣٩٣٣٣١٢٣٤٥٦٧", "+393331234567"),
        ("voice", "+1 800 356 9377", "+18003569377"),
        ("webhook", "https://Example.com?Key=A@b", "https://example.com?Key=A@b"),
        ("webhook", "https://example.com:8443/In", "https://example.com:8443/In"),
        ("webhook", "https://93.184.216.34/in", "https://93.184.216.34/in"),
    ],
)
def test_what_a_person_means_is_understood(medium, typed, kept):
    assert normalise(medium, typed) == kept


@pytest.mark.parametrize(
    ("medium", "typed", "said"),
    [
        ("email", "an\u200bna@example.com", "Character 3 (U+200B) is invisible"),
        ("email", "anna@exam\u00adple.com", "Character 10 (U+00AD) is invisible"),
        ("email", "anna\u3164@example.com", "Character 5 (U+3164) is invisible"),
        ("email", "anna\0@example.com", "Character 5 (U+0000) is invisible"),
        ("slack", "https://hooks.slack.com/services/T\u200b/B/hush", "Character 35 (U+200B) is invisible"),
        ("email", "", "“” is not an email address"),
        ("email", "\u200b", "“” is not an email address"),
        ("email", '"a b"@example.com', "is not an email address"),
        ("email", "anna@localhost", "is not an email address"),
        ("email", "anna@[127.0.0.1]", "is not an email address"),
        ("email", "anna@ex。ample.com", "is not an email address"),
        ("email", "anna@☃.com", "is not an email address"),
        ("email", "anna@" + "a." * 125 + "com", "is not an email address"),
        ("sms", "+39 0612345678;ext=9", "“+39 0612345678;ext=9” has an extension"),
        ("sms", "+442071234567 x12", "has an extension"),
        ("sms", "+1 900 555 1234", "“+1 900 555 1234” is a number with a surcharge; write that of a mobile phone."),
        ("sms", "+39 899 123456", "surcharge"),
        ("voice", "+44 871 234 5678", "surcharge"),
        ("whatsapp", "+39840123456", "surcharge"),
        ("sms", "+44 7600 123456", "is a pager or a voice mailbox"),
        ("sms", "333 1234567", "“333 1234567” has no country code; write it with + and the country code"),
        ("sms", "+999 123456789", "is not a phone number"),
        ("sms", "javascript:+442071234567", "is not a phone number"),
        ("sms", "+1-800-FLOWERS", "is not a phone number"),
        ("sms", "call +442071234567", "is not a phone number"),
        ("webhook", "https://10.0.0.5/in", "“10.0.0.5” is inside a private network"),
        ("webhook", "https://localhost:8443/in", "“localhost” is inside a private network"),
        ("webhook", "https://169.254.169.254/latest", "private network"),
        ("webhook", "https://[::ffff:10.0.0.5]/", "private network"),
        ("webhook", "https://[64:ff9b::7f00:1]/", "private network"),
        ("webhook", "https://2130706433/", "is not a secure web address"),
        ("webhook", "https://0x7f.0.0.1/", "is not a secure web address"),
        ("webhook", "https://u:p@example.com/", "has a login in it"),
        ("webpush", "javascript:alert(1)", "is not a secure web address"),
    ],
)
def test_what_nobody_can_be_written_to_at_is_refused_and_named(medium, typed, said):
    with pytest.raises(ValueError) as caught:  # noqa: PT011 - what it says is looked at
        normalise(medium, typed)
    assert said in str(caught.value)


def test_no_error_repeats_the_address_of_a_chat():
    for address in ("https://hooks.slack.com/services/T\u200b/B/hush", "https://hush.example/services/"):
        with pytest.raises(ValueError) as caught:  # noqa: PT011 - what it says is looked at
            normalise("slack", address)
        assert "hush" not in str(caught.value)


def test_networks_of_ones_own_are_named_in_the_settings(settings):
    from ipaddress import ip_network

    settings.WEBHOOK_NETWORKS = [ip_network("10.0.0.0/8")]
    assert normalise("webhook", "https://10.0.0.5/in") == "https://10.0.0.5/in"
    with pytest.raises(ValueError, match="private network"):
        normalise("webhook", "https://192.168.0.1/in")


def test_a_receiver_of_ones_own_may_stand_anywhere():
    assert https_url("https://10.0.0.5/In") == "https://10.0.0.5/In"


def test_an_italian_is_shown_an_italian_number():
    with translation.override("it"), pytest.raises(ValueError, match=r"scrivilo con il \+ .* \+393331234567") as caught:
        normalise("sms", "333 1234567")
    assert "E.164" not in str(caught.value)
