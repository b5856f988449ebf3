"""How hard a text is to read. Pure functions over plain text."""

import re

WORD = re.compile(r"[^\W_]+(?:['’-][^\W_]+)*")
# A stop ends a sentence only before white space: not in “14.30” or “example.com”.
SENTENCE = re.compile(r"[^\s].*?(?:[.!?…]+(?=\s|$)|(?=\n)|$)")


def sentences(text: str) -> list[tuple[int, str]]:
    """Offset and text of each sentence; a line end ends one too."""
    return [(m.start(), m[0]) for m in SENTENCE.finditer(text) if WORD.search(m[0])]


def words(text: str) -> list[str]:
    return WORD.findall(text)


def _counts(text: str) -> tuple[int, int, int]:
    """Letters, words, sentences; the last two at least 1."""
    found = words(text)
    letters = sum(c.isalnum() for word in found for c in word)
    return letters, max(len(found), 1), max(len(sentences(text)), 1)


def gulpease(text: str) -> float:
    """The Gulpease index of an Italian text: 100 is easiest; below 40 is hard even after secondary school."""
    letters, word_count, sentence_count = _counts(text)
    return 89 + (300 * sentence_count - 10 * letters) / word_count


def coleman_liau(text: str) -> float:
    """The Coleman–Liau index of an English text: years of schooling needed to read it at ease."""
    letters, word_count, sentence_count = _counts(text)
    return (5.88 * letters - 29.6 * sentence_count) / word_count - 15.8
