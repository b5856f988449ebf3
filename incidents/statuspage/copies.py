"""The status page as files, which any web server serves without the portal.

<directory>/index.html, incidents/<uid>/index.html                       in the default language
<directory>/history/index.html, history/2/index.html, …                  the archive
<directory>/<language>/…                                                 the same in each language
<directory>/badge.svg, badge/<uid>.svg                                   likewise
<directory>/brand.css                                                    the operator's colours
<directory>/api/v2/….json, history.atom, history.rss, maintenance.ics    in the default language alone
<directory>/static/portal/status.css, .js and the icon
<directory>/pictures/<sha256>.png or .jpg                                those that these pages show
"""

import fcntl
import hashlib
from collections.abc import Iterator
from itertools import chain
from pathlib import Path

from django.conf import settings
from django.contrib.staticfiles import finders

from . import archive
from .snapshot import UNFINISHED, Snapshot, replace, take

# Seconds that a publication spends on pages of the archive that were never rendered; the next ones do the rest.
PATIENCE = 3.0


def publish(directory: Path, taken: Snapshot | None = None, kept: Path | None = None) -> str:
    """Write everything public into `directory`, as it stands now or as `taken`; a hash of it (12 hex digits).

    `kept` is where the archive is taken from as it is; by default this machine's own is brought up to date first.

    One publication at a time: the last to finish is also the last to have read the facts. Raises OSError if it cannot
    write.
    """
    directory = Path(directory)
    directory.mkdir(parents=True, exist_ok=True)
    with (directory / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        return write(taken or take(), directory, kept or _archived())


def _archived() -> Path:
    here = Path(settings.STATUS_DIR)
    archive.refresh(here, PATIENCE)
    return here


def write(taken: Snapshot, directory: Path, kept: Path) -> str:
    """Make a directory of a snapshot; a hash of what is in it (12 hex digits).

    Each file is replaced at once, so nobody ever reads half of one; unchanged files are left alone. Raises OSError.
    """
    found = dict(files(taken, kept))
    for name, content in found.items():
        replace(directory / name, content)
    _remove_others(directory, set(found))
    digest = hashlib.sha256()
    for name in sorted(found):
        digest.update(name.encode() + b"\0" + hashlib.sha256(found[name]).digest())
    return digest.hexdigest()[:12]


def current() -> list[tuple[str, bytes]]:
    """Every file as it stands now, in the order to write them. Raises RuntimeError if a page cannot be rendered."""
    return list(files(take(), _archived()))


def files(taken: Snapshot, kept: Path) -> Iterator[tuple[str, bytes]]:
    """Every file: its path below the directory and its bytes. Pictures before the pages that show them."""
    for name, path in archive.pictures(kept).items():
        yield f"pictures/{name}", path.read_bytes()
    for name, content in taken.pictures.items():
        yield f"pictures/{name}", content
    # What stands in both is newer in the snapshot, which comes last.
    for where, page in chain(archive.pages(kept), taken.pages.items()):
        address, _space, language = where.partition(" ")
        name = address.lstrip("/") + ("index.html" if address.endswith("/") else "")
        if not language:
            yield name, page.body
        elif language.endswith("?"):
            yield f"{page.language}/{name}", page.body
        elif page.language == settings.LANGUAGE_CODE:
            yield name, page.body
    for name in ("portal/status.css", "portal/status.js", "portal/icon.svg"):
        if found := finders.find(name):
            yield f"static/{name}", Path(str(found)).read_bytes()


def _remove_others(directory: Path, names: set[str]) -> None:
    """Remove pages that are no longer part of it, and what a crash left behind; nothing that we never write."""
    for folder in (directory, *(directory / language for language, _label in settings.LANGUAGES)):
        for page in (*folder.glob("incidents/*/index.html"), *folder.glob("history/*/index.html")):
            if str(page.relative_to(directory)) not in names:
                page.unlink()
                page.parent.rmdir()
        for drawn in folder.glob("badge/*.svg"):
            if str(drawn.relative_to(directory)) not in names:
                drawn.unlink()
    for picture in (directory / "pictures").glob("*.*"):
        if len(picture.stem) == 64 and str(picture.relative_to(directory)) not in names:
            picture.unlink()
    for leftover in directory.rglob(f"{UNFINISHED}*"):
        leftover.unlink(missing_ok=True)
