import pytest
from hypothesis import given
from hypothesis import strategies as st

from channels.sms import BASIC, EXTENSION, segments


@pytest.mark.parametrize(
    ("text", "encoding", "units", "count"),
    [
        ("", "GSM-7", 0, 0),
        ("a" * 160, "GSM-7", 160, 1),
        ("a" * 161, "GSM-7", 161, 2),
        ("a" * 306, "GSM-7", 306, 2),
        ("a" * 307, "GSM-7", 307, 3),
        ("€" * 80, "GSM-7", 160, 1),
        ("perché", "GSM-7", 6, 1),
        ("’" * 70, "UCS-2", 70, 1),
        ("’" * 71, "UCS-2", 71, 2),
        ("’" * 134, "UCS-2", 134, 2),
        ("’" * 135, "UCS-2", 135, 3),
        ("😀" * 35, "UCS-2", 70, 1),
    ],
)
def test_it_counts_as_operators_do(text, encoding, units, count):
    found = segments(text)
    assert (found.encoding, found.units, found.count) == (encoding, units, count)


def test_it_names_the_characters_that_force_ucs2_once_each():
    assert segments("It’s “down” – it’s").offending == ("’", "“", "”", "–")


def test_it_never_splits_an_escaped_character_between_segments():
    # 306 units would fill two segments, but the euro sign stands across their border.
    assert segments("a" * 152 + "€" + "b" * 152).count == 3


def test_it_never_splits_a_surrogate_pair_between_segments():
    assert segments("’" * 66 + "😀" + "’" * 66).count == 3


def test_it_says_how_much_is_left():
    assert segments("a" * 150).left == 10
    assert segments("a" * 170).left == 306 - 170


@given(st.text(alphabet=sorted(BASIC | EXTENSION), max_size=400))
def test_a_text_of_the_gsm_alphabet_is_gsm7_and_fits(text):
    found = segments(text)
    assert found.encoding == "GSM-7"
    assert not found.offending
    assert found.count * found.per_segment >= found.units
