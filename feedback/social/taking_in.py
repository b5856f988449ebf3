"""Take in what was heard: what is about a component and new, without names, with its mood."""

import re
from collections.abc import Sequence
from typing import Any

from django.db import transaction

from channels.providers.base import Heard
from channels.secrets import address_hash

from .models import LONGEST, SocialPost, SocialSource, WatchTerm
from .sentiment import read_all

# Names of others in a post. An address of mail stays recognisable as one, and is nobody's.
NAME = re.compile(r"(?<![\w/])@[\w.-]+(?:@[\w.-]+)?|[\w.+-]+@[\w-]+\.[\w.]+")
NOT_KEPT = re.compile(r"[\x00-\x08\x0b-\x1f\x7f]")
Terms = list[tuple[re.Pattern[str], int]]


def terms() -> Terms:
    """What is looked for, with the component that it is about."""
    return [(_pattern(term), component) for term, component in WatchTerm.objects.values_list("term", "component")]


def _pattern(term: str) -> re.Pattern[str]:
    words = [re.escape(one) for one in term.removeprefix("#").split()]
    return re.compile(r"(?<!\w)#?" + r"[\s_-]*".join(words) + r"(?!\w)", re.I)


def about(text: str, known: Terms) -> list[int]:
    """The components that a text is about."""
    return list(dict.fromkeys(component for pattern, component in known if pattern.search(text)))


def take_in(source: SocialSource, heard: Sequence[Heard], **state: Any) -> int:
    """Keep what is about a component and new, together with the `state` of its source (fields and values); how many."""
    known = terms()
    wanted: dict[str, tuple[Heard, list[int]]] = {}
    for one in heard:
        components = about(one.text, known)
        if components and not one.own and one.id:
            wanted[one.id[:300]] = (one, components)
    network = source.network
    there = SocialPost.objects.filter(network=network, external_id__in=list(wanted))
    for key in there.values_list("external_id", flat=True):
        del wanted[key]
    texts = {key: without_names(one.text) for key, (one, _components) in wanted.items()}
    # Before the transaction: an engine may be asked over the network.
    moods = read_all([(texts[key], one.language) for key, (one, _components) in wanted.items()])
    rows = [
        SocialPost(
            source=source,
            network=network,
            external_id=key,
            at=one.at,
            text=texts[key],
            url=one.url[:500] if len(one.url) <= 500 else "",
            author_hash=address_hash(f"social:{network}", one.author or f"of {key}"),
            language=mood.language,
            label=mood.label,
            score=mood.score,
            engine=mood.engine,
            detail=mood.detail,
        )
        for (key, (one, _components)), mood in zip(wanted.items(), moods, strict=True)
    ]
    with transaction.atomic():
        SocialPost.objects.bulk_create(rows, ignore_conflicts=True)  # another worker may have been quicker
        kept = SocialPost.objects.filter(network=network, external_id__in=list(wanted))
        through = SocialPost.components.through
        through.objects.bulk_create(  # type: ignore[attr-defined]
            [
                through(socialpost_id=pk, component_id=component)
                for pk, key in kept.values_list("pk", "external_id")
                for component in wanted[key][1]
            ],
            ignore_conflicts=True,
        )
        if state:
            SocialSource.objects.filter(pk=source.pk).update(**state)
    return len(rows)


def without_names(text: str) -> str:
    """A post as it is kept: nobody's name in it, no signs that no database takes, and no longer than it may be."""
    return NAME.sub("@…", NOT_KEPT.sub(" ", text)).strip()[:LONGEST]
