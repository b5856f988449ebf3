"""The history as Atom and RSS: one entry per incident, with a permanent id."""

from datetime import datetime
from typing import Any

from django.conf import settings
from django.contrib.syndication.views import Feed
from django.http import HttpRequest, HttpResponse
from django.template.loader import render_to_string
from django.utils import translation
from django.utils.feedgenerator import Atom1Feed, Rss201rev2Feed
from django.utils.translation import gettext as _
from django.views.decorators.http import conditional_page, require_safe

from incidents.models.words import plain

from .caching import cached
from .facts import PublicIncident, page_id, public, read
from .private import scoped
from .scope import Scope

LATEST = 25


class _Atom(Atom1Feed):
    def root_attributes(self) -> dict[str, str]:
        # Without a language of the feed's own, Django writes xml:lang="None".
        return {**super().root_attributes(), "xml:lang": self.feed["language"] or settings.LANGUAGE_CODE}


class History(Feed):
    """Both formats, by the class of `feed_type`."""

    item_guid_is_permalink = False

    def __init__(self, kind: type, scope: Scope) -> None:
        self.feed_type = kind
        self.scope = scope
        self.language = settings.LANGUAGE_CODE

    def title(self) -> str:
        return _("%(name)s status: incident history") % {"name": self.scope.title}

    def subtitle(self) -> str:
        return _("Incidents and maintenance of %(name)s, newest first.") % {"name": self.scope.title}

    description = subtitle

    def link(self) -> str:
        return f"{self.scope.url}/"

    def feed_url(self) -> str:
        name = "atom" if issubclass(self.feed_type, Atom1Feed) else "rss"
        return f"{self.scope.url}/history.{name}"

    def feed_guid(self) -> str:
        return _tag("history", self.scope)

    def items(self) -> list[PublicIncident]:
        return sorted(read(public(self.scope)[:LATEST], self.scope), key=lambda one: one.updated_at, reverse=True)

    def item_title(self, item: Any) -> str:
        return plain(item.incident.title)

    def item_description(self, item: PublicIncident) -> str:
        return plain(render_to_string("statuspage/feed_item.html", {"one": item}))

    def item_link(self, item: PublicIncident) -> str:
        return item.url

    def item_guid(self, item: PublicIncident) -> str:
        return _tag(f"incident/{item.incident.uid}", self.scope)

    def item_pubdate(self, item: PublicIncident) -> datetime:
        return item.said[-1].at

    def item_updateddate(self, item: PublicIncident) -> datetime:
        return item.updated_at


def _tag(name: str, scope: Scope) -> str:
    """A permanent id: it does not change when the portal moves."""
    return f"urn:commsportal:{page_id(scope)}:{name}"


FEEDS = {"atom": _Atom, "rss": Rss201rev2Feed}


@conditional_page
@require_safe
@scoped
def view(request: HttpRequest, scope: Scope, kind: str) -> HttpResponse:
    """Serve /history.atom or /history.rss in the default language."""
    with translation.override(settings.LANGUAGE_CODE):
        response = cached(History(FEEDS[kind], scope)(request))
    response["Content-Language"] = settings.LANGUAGE_CODE
    return response
