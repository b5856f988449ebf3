"""Which language a post is in: what the network says, else its words and letters. English, Italian, or another."""

import re
from collections.abc import Collection

from .lexicon import LANGUAGES, lexicon

WORD = re.compile(r"[^\W\d_]+(?:'[^\W\d_]+)?")
# The commonest words of languages that look like ours and are not read.
OTHERS = {
    "es": "el los las que por para con está lo pero cuando desde hoy todo nada ya qué más porque muy mi funciona",
    "fr": "les des et que pour avec est pas ne je vous nous mais comme quand depuis rien plus ça c'est ce du au sur",
    "de": "der die das und nicht ist ich es ein eine mit auf für von zu den seit heute wieder auch nur noch geht kein",
    "pt": "que em por para com não está meu muito mas quando desde hoje tudo nada já mais uma você do da funciona",
    "nl": "de het een en niet ik van op voor met zijn dat maar ook weer vandaag geen al nog naar werkt",
}
OTHER_WORDS = {name: frozenset(words.split()) for name, words in OTHERS.items()}
# Letters and endings that one of the two has and the other seldom.
SHAPES = {
    "en": re.compile(r"\w*(?:[wkyj]|th|sh|ck|ough)\w*|\w+(?:ing|ed|'s|'t|'m|'re|'ve|'ll|ly|[bcdfghkmpstvw])"),
    "it": re.compile(r"\w*[àèéìòù]|(?:l|un|dell|all|nell|sull|dall|c|d|m|t|s|v)'\w+|\w+(?:zione|are|ere|ire|[aeiou])"),
}


def language_of(text: str, said: str = "") -> str:
    """en, it, or other. `said` is what the network calls it: it counts unless the words clearly speak against it."""
    plain = text.lower().replace("’", "'")
    words = WORD.findall(plain)
    stops = {name: _share(words, lexicon(name).stop) for name in LANGUAGES}
    other = max(_share(words, known) for known in OTHER_WORDS.values())
    said = said.lower().partition("-")[0]
    best = max(stops, key=lambda name: stops[name])
    if said in LANGUAGES:
        return said if stops[said] >= max(stops[best], other) - 2 else best if stops[best] >= other else "other"
    if said not in ("", "und") or not _latin(text) or (other >= 2 and other > stops[best]):
        return "other"
    marks = {
        name: 2 * stops[name]
        + 1.5 * lexicon(name).hits(plain)
        + sum(bool(SHAPES[name].fullmatch(one)) for one in words)
        for name in LANGUAGES
    }
    return max(marks, key=lambda name: marks[name])


def _share(words: Collection[str], known: frozenset[str]) -> int:
    return sum(one in known or one.partition("'")[0] in known for one in words)


def _latin(text: str) -> bool:
    letters = [one for one in text if one.isalpha()]
    return sum(one < "ɐ" for one in letters) >= len(letters) / 2
