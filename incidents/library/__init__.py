"""The words that every installation starts with: one TOML file a scenario, for each stage in each language."""

import tomllib
from dataclasses import dataclass
from pathlib import Path

from django.conf import settings

from incidents.models import WORDS, MessageTemplate, Scenario


@dataclass(frozen=True)
class Entry:
    """One scenario of the library. `words` maps (stage, locale) to {field of WORDS: text}."""

    slug: str
    name: str
    description: str
    position: int
    words: dict[tuple[str, str], dict[str, str]]
    maintenance: bool = False  # planned work rather than an incident


def entries() -> list[Entry]:
    """Every scenario of the library in its order, named in the portal's own language."""
    found = [_read(path) for path in Path(__file__).parent.glob("*.toml")]
    return sorted(found, key=lambda entry: entry.position)


def _read(path: Path) -> Entry:
    data = tomllib.loads(path.read_text(encoding="utf-8"))
    locales = {key: table for key, table in data.items() if isinstance(table, dict)}
    own = locales.get(settings.LANGUAGE_CODE) or locales["en"]
    words = {
        (stage, locale): {field: text[field] for field in WORDS if field in text}
        for locale, table in locales.items()
        for stage, text in table.items()
        if isinstance(text, dict)
    }
    return Entry(path.stem, own["name"], own["description"], data["position"], words, data.get("maintenance", False))


@dataclass
class Loaded:
    """What loading one scenario did, in templates."""

    created: int = 0
    replaced: int = 0
    unchanged: int = 0
    kept: int = 0  # they differ from the library, and were left as they are


@dataclass
class Standing:
    """One scenario of the library beside what is here, in templates."""

    entry: Entry
    missing: list[tuple[str, str]]  # (stage, locale)
    changed: list[MessageTemplate]
    same: int


def standings() -> list[Standing]:
    """The whole library, in two queries."""
    here = {one.slug: list(one.templates.all()) for one in Scenario.objects.prefetch_related("templates")}
    return [_standing(entry, here.get(entry.slug, [])) for entry in entries()]


def _standing(entry: Entry, templates: list[MessageTemplate]) -> Standing:
    existing = {(one.stage, one.locale): one for one in templates}
    found = Standing(entry, [], [], 0)
    for key, words in entry.words.items():
        template = existing.get(key)
        if template is None:
            found.missing.append(key)
        elif template.words() == _whole(words):
            found.same += 1
        else:
            found.changed.append(template)
    return found


def _whole(words: dict[str, str]) -> dict[str, str]:
    """A template with these words has nothing in its other fields."""
    return dict.fromkeys(WORDS, "") | words


def load(entry: Entry, overwrite: bool = False) -> Loaded:
    """Bring one scenario into the database. Words that differ stay, unless `overwrite` is set."""
    done = Loaded()
    about = {"name": entry.name, "description": entry.description, "position": entry.position}
    about |= {"maintenance": entry.maintenance}
    scenario, _created = Scenario.objects.get_or_create(slug=entry.slug, defaults=about)
    existing = {(t.stage, t.locale): t for t in scenario.templates.all()}
    for (stage, locale), words in entry.words.items():
        template = existing.get((stage, locale))
        if template is None:
            MessageTemplate.objects.create(scenario=scenario, stage=stage, locale=locale, **words)
            done.created += 1
        elif template.words() == _whole(words):
            done.unchanged += 1
        elif overwrite:
            for field in WORDS:
                setattr(template, field, words.get(field, ""))
            template.save()  # the words that it had stay in its history
            done.replaced += 1
        else:
            done.kept += 1
    return done
