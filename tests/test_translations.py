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
PLACEHOLDER = re.compile(r"%\(\w+\)[sd]|%[sd]|\{\{ ?\w+ ?\}\}|</?\w+[^>]*>|https?://\S+")


@pytest.fixture(scope="module")
def italian() -> polib.POFile:
    return polib.pofile(str(PO))


def texts(entry: polib.POEntry) -> list[str]:
    return list(entry.msgstr_plural.values()) if entry.msgid_plural else [entry.msgstr]


def test_everything_is_translated(italian):
    assert [e.msgid for e in italian if e.fuzzy or not all(texts(e))] == []


def test_placeholders_survive_translation(italian):
    wrong = []
    for entry in italian:
        allowed = [sorted(set(PLACEHOLDER.findall(text))) for text in (entry.msgid, entry.msgid_plural) if text]
        wrong += [entry.msgid for text in texts(entry) if sorted(set(PLACEHOLDER.findall(text))) not in allowed]
    assert wrong == []


def test_what_is_compiled_is_what_is_written(italian):
    compiled = {e.msgid: texts(e) for e in polib.mofile(str(PO.with_suffix(".mo")))}
    assert compiled == {e.msgid: texts(e) for e in italian}


@pytest.mark.skipif(shutil.which("xgettext") is None, reason="needs xgettext: apt-get install gettext")
def test_no_text_is_missing_from_the_catalogue(italian, tmp_path):
    for name in ("commsportal", "channels", "incidents", "feedback", "templates", "locale"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "manage.py", tmp_path)
    subprocess.run(
        [sys.executable, "manage.py", "makemessages", "-l", "it", "--no-location", "--no-obsolete"],
        cwd=tmp_path,
        check=True,
        capture_output=True,
        timeout=100,
    )
    found = {e.msgid for e in polib.pofile(str(tmp_path / PO.relative_to(ROOT)))}
    assert found - {e.msgid for e in italian} == set()


def test_dates_are_written_as_the_language_writes_them():
    at = datetime(2026, 11, 3, 14, 30)
    written = {}
    for language in ("en", "it"):
        with translation.override(language):
            written[language] = (date_format(at, gettext("j M Y, H:i")), date_format(at, "DATE_FORMAT"))
    assert written == {"en": ("3 Nov 2026, 14:30", "3 Nov 2026"), "it": ("3 nov 2026, 14:30", "03 novembre 2026")}
