from pathlib import Path

import pytest

from channels.errors import Permanent
from channels.providers.statuspage import StatusPageForm

from .conftest import addressees, make_message


def publish(directory: Path) -> str:
    """Stands for the app that knows the page."""
    (directory / "index.html").write_text("<h1>Status</h1>")
    return "etag-1"


@pytest.fixture
def page(make_provider, settings, tmp_path):
    settings.STATUS_PAGE_PUBLISHER = f"{__name__}.publish"
    return make_provider("statuspage", directory=str(tmp_path / "new" / "status"))


def test_it_publishes_into_the_directory_and_may_do_so_again(page, tmp_path):
    for _n in range(2):
        [outcome] = page.send(make_message(), addressees(1))
        assert outcome.ref == "etag-1"
        assert outcome.error is None
    assert [p.name for p in (tmp_path / "new" / "status").iterdir()] == ["index.html"]


def test_the_probe_leaves_nothing_behind(page, tmp_path):
    page.probe()
    assert list((tmp_path / "new" / "status").iterdir()) == []


def test_a_directory_that_cannot_be_one_is_raised(make_provider, tmp_path):
    (tmp_path / "file").write_text("")
    page = make_provider("statuspage", directory=str(tmp_path / "file"))
    with pytest.raises(Permanent):
        page.probe()
    with pytest.raises(Permanent):
        make_provider("statuspage", directory=str(tmp_path / "file" / "below")).send(make_message(), addressees(1))


@pytest.mark.parametrize("directory", ["relative/path", "/var/../etc", "/etc/hostname"])
def test_the_form_names_a_bad_directory(directory):
    form = StatusPageForm({"directory": directory})
    assert directory in str(form.errors)
