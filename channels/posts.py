"""The length of a social post as X weighs it, and how a longer text becomes a thread."""

import re
import unicodedata

from twitter_text import parse_tweet
from twitter_text.extract_emojis import extract_emojis_with_indices
from twitter_text.extract_urls import extract_urls_with_indices

LIMIT = 280
SENTENCE_END = re.compile(r"[.!?…。！？][\"'”’)\]]*\s|\n|[。！？]")


def weighted_length(text: str) -> int:
    """Characters as X counts them: after NFC, a link is 23, an emoji 2, a CJK character 2."""
    return parse_tweet(text).weightedLength


def split(text: str, limit: int = LIMIT) -> list[str]:
    """The posts of a thread: cut after a sentence where possible, else between words, else between characters.

    No word is lost or added, a link is never cut. Empty for an empty text.
    """
    rest = unicodedata.normalize("NFC", text).strip()
    posts = []
    while weighted_length(rest) > limit:
        cut = _cut(rest, limit)
        posts.append(rest[:cut].rstrip())
        rest = rest[cut:].lstrip()
    return [*posts, rest] if rest else posts


def _cut(text: str, limit: int) -> int:
    """Where the first post of a text that is too long ends."""
    end = _words_that_fit(text, limit)
    if not end:
        return _characters_that_fit(text, limit)
    # A very short first sentence does not get a post of its own.
    ends = [m.end() for m in SENTENCE_END.finditer(text, 0, end + 1) if end // 3 < m.end() <= end + 1]
    return ends[-1] if ends else end


def _words_that_fit(text: str, limit: int) -> int:
    # Weights add up over words: neither a link nor an emoji reaches across white space.
    weight = end = 0
    for token in re.finditer(r"\s*\S+", text):
        weight += weighted_length(token[0])
        if weight > limit:
            break
        end = token.end()
    return end


def _characters_that_fit(text: str, limit: int) -> int:
    entities = extract_urls_with_indices(text) + extract_emojis_with_indices(text)
    inside = {i for one in entities for i in range(one["indices"][0] + 1, one["indices"][1])}
    best = 0
    for end in range(1, len(text)):
        if end in inside or unicodedata.category(text[end]).startswith("M"):
            continue
        if weighted_length(text[:end]) > limit:
            break
        best = end
    return best or len(text)
