"""Italian is as complete as English."""

import re
import shutil
import subprocess
import sys
from datetime import datetime
from pathlib import Path

import polib
import pytest
from django.utils import translation
from django.utils.formats import date_format
from django.utils.translation import gettext

ROOT = Path(__file__).resolve().parents[1]
PO = ROOT / "locale/it/LC_MESSAGES/django.po"
COLLECT = "manage.py makemessages -l it --no-location --no-obsolete --no-wrap"
PLACEHOLDER = re.compile(r"%\(\w+\)[sd]|%[sd]|\{\{ ?\w+ ?\}\}|</?\w+[^>]*>|https?://\S+")


@pytest.fixture(scope="module")
def italian() -> polib.POFile:
    return polib.pofile(str(PO))


def texts(entry: polib.POEntry) -> list[str]:
    return list(entry.msgstr_plural.values()) if entry.msgid_plural else [entry.msgstr]


def key(entry: polib.POEntry) -> tuple[str, str, str]:
    return entry.msgctxt or "", entry.msgid, entry.msgid_plural


def keys(catalogue: polib.POFile) -> set[tuple[str, str, str]]:
    return {key(entry) for entry in catalogue}


def test_everything_is_translated(italian):
    untranslated = [e.msgid for e in italian if not all(texts(e))]
    guessed = [e.msgid for e in italian if e.fuzzy]
    assert (untranslated, guessed) == ([], [])


def test_placeholders_survive_translation(italian):
    wrong = []
    for entry in italian:
        allowed = [sorted(set(PLACEHOLDER.findall(text))) for text in (entry.msgid, entry.msgid_plural) if text]
        wrong += [entry.msgid for text in texts(entry) if sorted(set(PLACEHOLDER.findall(text))) not in allowed]
    assert wrong == []


def test_what_is_compiled_is_what_is_written(italian):
    compiled = {key(e): texts(e) for e in polib.mofile(str(PO.with_suffix(".mo")))}
    assert compiled == {key(e): texts(e) for e in italian}


@pytest.fixture(scope="module")
def collected(tmp_path_factory: pytest.TempPathFactory) -> polib.POFile:
    """The catalogue as the command in CONTRIBUTING.md would leave it, on a copy."""
    if shutil.which("xgettext") is None:
        pytest.skip("needs xgettext: apt-get install gettext")
    copy = tmp_path_factory.mktemp("sources")
    for name in ("commsportal", "channels", "incidents", "feedback", "templates", "locale"):
        shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "manage.py", copy)
    subprocess.run([sys.executable, *COLLECT.split()], cwd=copy, check=True, capture_output=True, timeout=100)
    return polib.pofile(str(copy / PO.relative_to(ROOT)))


def test_no_text_is_missing_from_the_catalogue(italian, collected):
    assert sorted(keys(collected) - keys(italian)) == [], f"run: python {COLLECT}, then translate what it added"


def test_nothing_in_the_catalogue_is_without_a_source(italian, collected):
    """Else the next run of the command would drop it, and its translation."""
    gone = sorted(keys(italian) - keys(collected))
    assert gone == [], "no source has these; name those of a package in commsportal/foreign_words.py"


def test_collecting_again_changes_no_translation(italian, collected):
    assert {key(e): texts(e) for e in collected} == {key(e): texts(e) for e in italian}


def test_the_command_that_collects_is_the_one_people_are_told():
    assert COLLECT in (ROOT / "CONTRIBUTING.md").read_text()


def test_dates_are_written_as_the_language_writes_them():
    at = datetime(2026, 11, 3, 14, 30)
    written = {}
    for language in ("en", "it"):
        with translation.override(language):
            written[language] = (date_format(at, gettext("j M Y, H:i")), date_format(at, "DATE_FORMAT"))
    assert written == {"en": ("3 Nov 2026, 14:30", "3 Nov 2026"), "it": ("3 nov 2026, 14:30", "03 novembre 2026")}
