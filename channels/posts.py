"""The length of a social post as its network weighs it, and how a longer text becomes a thread.

twitter_text is imported where it is used: its tables would add 40 % to the time in which a worker or a command starts.
"""

import re
import unicodedata
from collections.abc import Callable
from itertools import pairwise

LIMIT = 280
ZERO_WIDTH_JOINER = "\u200d"
SENTENCE_END = re.compile(r"[.!?…。！？][\"'”’)\]]*\s|\n|[。！？]")
Weigh = Callable[[str], int]


def weighted_length(text: str) -> int:
    """Characters as X counts them: after NFC, a link is 23, an emoji 2, a CJK character 2."""
    from twitter_text import parse_tweet

    return parse_tweet(text).weightedLength


def graphemes(text: str) -> int:
    """Characters as a reader sees them (UAX #29), never too few: for networks that count those.

    A mark counts with what it stands on. What is joined in other ways counts in its parts, a flag 2 and a family 4:
    their tables differ between versions of Unicode, and a post too long is refused where a shorter one is not.
    """
    return sum(not _attached(before, one) for before, one in pairwise(f"\n{text}"))


def _attached(before: str, one: str) -> bool:
    if unicodedata.category(one) not in ("Mn", "Me") and one != ZERO_WIDTH_JOINER:
        return False
    kind = unicodedata.category(before)
    return not kind.startswith("C") and kind not in ("Zl", "Zp")  # nothing attaches to a line break


def links(text: str) -> list[tuple[int, int]]:
    """Where the links that name http or https begin and end."""
    from twitter_text.extract_urls import extract_urls_with_indices

    found = extract_urls_with_indices(text, extract_urls_without_protocol=False)
    return [(one["indices"][0], one["indices"][1]) for one in found]


def split(text: str, limit: int = LIMIT, weigh: Weigh = weighted_length) -> list[str]:
    """The posts of a thread: cut after a sentence where possible, else between words, else between characters.

    No word is lost or added, a link is never cut. Empty for an empty text. `weigh` is how the network counts; what it
    gives for single words, with the white space before them, must add up to at least what it gives for all of them.
    A post weighs more than `limit` only if it holds a single link or letter that does.
    """
    rest = unicodedata.normalize("NFC", text).strip()
    posts = []
    while weigh(rest) > limit:
        cut = _cut(rest, limit, weigh)
        posts.append(rest[:cut].rstrip())
        rest = rest[cut:].lstrip()
    return [*posts, rest] if rest else posts


def _cut(text: str, limit: int, weigh: Weigh) -> int:
    """Where the first post of a text that is too long ends."""
    end = _words_that_fit(text, limit, weigh)
    if not end:
        return _characters_that_fit(text, limit, weigh)
    # A very short first sentence does not get a post of its own.
    ends = [m.end() for m in SENTENCE_END.finditer(text, 0, end + 1) if end // 3 < m.end() <= end + 1]
    return ends[-1] if ends else end


def _words_that_fit(text: str, limit: int, weigh: Weigh) -> int:
    # Weights add up over words: neither a link nor an emoji reaches across white space.
    weight = end = 0
    for token in re.finditer(r"\s*\S+", text):
        weight += weigh(token[0])
        if weight > limit:
            break
        end = token.end()
    return end


def _characters_that_fit(text: str, limit: int, weigh: Weigh) -> int:
    from twitter_text.extract_emojis import extract_emojis_with_indices
    from twitter_text.extract_urls import extract_urls_with_indices

    entities = extract_urls_with_indices(text) + extract_emojis_with_indices(text)
    inside = {i for one in entities for i in range(one["indices"][0] + 1, one["indices"][1])}
    best = 0
    for end in range(1, len(text)):
        if end in inside or unicodedata.category(text[end]).startswith("M"):
            continue
        if weigh(text[:end]) > limit:
            break
        best = end
    return best or len(text)
