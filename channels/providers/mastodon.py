"""Posts on Mastodon through the API of the account's own server; what is too long for one post becomes a thread."""

import hashlib
import html
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

from django import forms
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from urllib3.filepost import encode_multipart_formdata

from channels import posts
from channels.errors import Permanent, Transient, Uncertain
from channels.pictures import SUFFIXES

from .base import Addressee, Capabilities, Heard, Hearing, Message, MessagePicture, Outcome, Page
from .http import MAX_REPLY, HttpProvider
from .social import MAX_FOUND, ServerField, moment, publish

LIMIT = 500  # characters, where the server does not say otherwise
FOUND = 40  # posts on a page: the most that a server gives
LINK = "x" * 23  # what a link counts, however long it is
VISIBILITIES = [("public", gettext_lazy("Public")), ("unlisted", gettext_lazy("Unlisted: not in the public feeds"))]
MENTION = re.compile(r"(?<![\w/])(@\w+)@[\w.-]+\w")


class MastodonForm(forms.Form):
    server = ServerField(
        label=gettext_lazy("Server"),
        help_text=gettext_lazy("Where the account lives, for example https://mastodon.social."),
    )
    access_token = forms.CharField(
        label=gettext_lazy("Access token"),
        widget=forms.PasswordInput,
        help_text=gettext_lazy(
            "Of an application made under Preferences → Development with the scopes read:accounts, write:statuses and "
            "write:media."
        ),
    )
    visibility = forms.ChoiceField(label=gettext_lazy("Visibility"), choices=VISIBILITIES)


def weight(text: str) -> int:
    """Characters as Mastodon counts them: graphemes, a link is 23, a mention counts without its server.

    https://docs.joinmastodon.org/user/posting/#text and StatusLengthValidator of its source.
    """
    for start, end in reversed(posts.links(text)):
        text = text[:start] + LINK + text[end:]
    return posts.graphemes(MENTION.sub(r"\1", text))


def plain(content: str) -> str:
    """The words of a post, which is HTML: paragraphs and breaks become lines."""
    lines = re.sub(r"<br ?/?>|</p>\s*<p[^>]*>", "\n", content)
    return html.unescape(re.sub(r"<[^>]*>", "", lines)).strip()


@dataclass(frozen=True)
class Posted:
    id: str
    url: str

    def __str__(self) -> str:
        return self.url[:200] or self.id


class Mastodon(HttpProvider, Hearing):
    """Not called idempotent, though Mastodon drops a repeated Idempotency-Key: for one hour only.

    A worker that stood still or a channel that was paused repeats later than that. Within the hour the key makes it
    harmless if a person sends again what is uncertain, and completes a thread that stopped half-way.
    https://docs.joinmastodon.org/methods/statuses/#headers
    """

    label = gettext_lazy("Social post: Mastodon")
    capabilities = Capabilities(
        form="post",
        medium="broadcast",
        broadcast=True,
        max_weight=LIMIT,
        weigh=weight,
        thread=True,
        pictures=True,
        hears=True,
    )
    config_form = MastodonForm

    def send(self, message: Message, recipients: Sequence[Addressee]) -> list[Outcome]:
        return [self._publish(message, one) for one in recipients]

    def _publish(self, message: Message, one: Addressee) -> Outcome:
        def post(text: str, before: list[Posted]) -> Posted:
            # The text is part of the key: a server whose limit changed meanwhile gets other parts of the thread.
            parts = [message.thread, one.key, str(len(before)), text]
            status = {"status": text, "visibility": self.config["visibility"], "language": language}
            if before:
                status["in_reply_to_id"] = before[-1].id
            elif message.picture:
                status["media_ids"] = [self._upload(message.picture)]
            key = hashlib.sha256("\n".join(parts).encode()).hexdigest()
            said = self._ask("POST", "/api/v1/statuses", status, {"Idempotency-Key": key})
            try:
                return Posted(str(said["id"]), str(said.get("url") or ""))
            except (AttributeError, KeyError, TypeError):
                raise Uncertain("bad-reply", _("The server answered without the ID of the post.")) from None

        language = message.locale.partition("-")[0]  # ISO 639: Mastodon knows no regions
        return publish(message.parts["text"], post, self.limit, weight, of_this_text=("413", "422"))

    def hear(self, terms: Sequence[str], cursor: Mapping[str, Any]) -> Page:
        """One page of one term: hashtags by their timeline, other words by the server's search, where it has one.

        `min_id` gives what follows right after it, so that nothing in between is left out.
        https://docs.joinmastodon.org/methods/timelines/#tag and https://docs.joinmastodon.org/methods/search/#v2
        """
        ordered = sorted(terms)
        if not ordered:
            return Page([], {})
        newest = {term: one for term, one in cursor.get("newest", {}).items() if term in ordered}
        at = min(int(cursor.get("at", 0)), len(ordered) - 1)
        term = ordered[at]
        since = {"min_id": newest[term]} if term in newest else {}
        found = self._found(term, since)
        newest |= {term: max((str(one["id"]) for one in found), key=int)} if found else {}
        again = bool(since) and len(found) >= FOUND
        following = at if again else at + 1
        last = following == len(ordered)
        there = {"newest": newest, "at": 0 if last else following}
        return Page([self._heard(one) for one in found], there, more=not last)

    def _found(self, term: str, since: Mapping[str, str]) -> list[dict[str, Any]]:
        if re.fullmatch(r"#?\w+", term):
            query = urlencode({"limit": FOUND, **since})
            said = self._ask("GET", f"/api/v1/timelines/tag/{quote(term.lstrip('#'), safe='')}?{query}")
        else:
            query = urlencode({"q": f'"{term}"', "type": "statuses", "limit": FOUND, **since})
            said = self._ask("GET", f"/api/v2/search?{query}")
            said = said.get("statuses") if isinstance(said, dict) else None
        if not isinstance(said, list):
            raise Permanent("bad-reply", _fix(404))
        return [one for one in said if isinstance(one, dict) and str(one.get("id", "")).isdecimal()]

    def _heard(self, status: Mapping[str, Any]) -> Heard:
        account = status.get("account") or {}
        return Heard(
            id=str(status.get("uri") or status["id"]),  # the same on whatever server it was found
            at=moment(status.get("created_at")),
            text=plain(str(status.get("content") or "")),
            author=str(account.get("url") or account.get("acct") or ""),
            language=str(status.get("language") or ""),
            url=str(status.get("url") or ""),
            own=str(account.get("id", "")) == self.account,
        )

    @cached_property
    def account(self) -> str:
        """The number of our own account on its server. Raises DeliveryError."""
        said = self._ask("GET", "/api/v1/accounts/verify_credentials")
        return str(said.get("id", "")) if isinstance(said, dict) else ""

    def _upload(self, picture: MessagePicture) -> str:
        """Hand the picture over with what it shows; the ID by which a post names it.

        Raises DeliveryError, never Uncertain: nobody sees a picture that no post names.
        https://docs.joinmastodon.org/methods/media/#v2
        """
        file = (f"picture.{SUFFIXES[picture.content_type]}", picture.content, picture.content_type)
        body, kind = encode_multipart_formdata({"description": picture.alt, "file": file})
        try:
            status, said = self._request("POST", "/api/v2/media", body, {"Content-Type": kind})
            number = str(said["id"])
            if status == 202:  # taken, and still being worked on: a post would be refused until that is done
                status, _said = self._request("GET", f"/api/v1/media/{quote(number, safe='')}")
        except Uncertain as error:
            raise Transient(error.code, error.detail) from error
        except (KeyError, TypeError):
            raise Transient("bad-reply", _("The server answered without the ID of the picture.")) from None
        if status != 200:
            raise Transient("media-processing", _("The server is still working on the picture."))
        return number

    @cached_property
    def limit(self) -> int:
        """Characters in one post on this server. Raises DeliveryError, never Uncertain: nothing is public yet."""
        try:
            said = self._ask("GET", "/api/v2/instance")
            limit = int(said["configuration"]["statuses"]["max_characters"])
        except Uncertain as error:
            raise Transient(error.code, error.detail) from error
        except Permanent as error:
            if error.code != "404":  # older than version 4
                raise
            return LIMIT
        except (KeyError, TypeError, ValueError):
            return LIMIT
        return limit if limit > 0 else LIMIT

    def _ask(self, method: str, path: str, body: Any = None, headers: dict[str, str] | None = None) -> Any:
        """One request as our account: what the server says. Raises DeliveryError."""
        return self._request(method, path, body, headers)[1]

    def _request(
        self, method: str, path: str, body: Any = None, headers: dict[str, str] | None = None
    ) -> tuple[int, Any]:
        """As _ask, with the status before."""
        sent = {"Authorization": f"Bearer {self.config['access_token']}", **(headers or {})}
        longest = MAX_FOUND if method == "GET" else MAX_REPLY
        status, said, _headers = self.call(method, f"{self.config['server']}{path}", body, sent, longest)
        if status >= 400:
            detail = str(said.get("error", "")) if isinstance(said, dict) else ""
            raise Permanent(str(status), " ".join(filter(None, [detail, _fix(status)])))
        return status, said

    def probe(self) -> str:
        said = self._ask("GET", "/api/v1/accounts/verify_credentials")
        name = said.get("acct") if isinstance(said, dict) else None
        if not name:
            raise Permanent("bad-reply", _fix(404))
        values = {"account": f"{name}@{urlsplit(self.config['server']).netloc}", "limit": self.limit}
        return _("Posts appear as @%(account)s; one post holds %(limit)d characters.") % values

    def close(self) -> None:
        self.__dict__.pop("limit", None)
        self.__dict__.pop("account", None)
        super().close()


def _fix(status: int) -> str:
    if status in (401, 403):
        return _(
            "Make a new access token with the scopes read:accounts, write:statuses and write:media, and enter it here."
        )
    if status == 404:
        return _("This is not a Mastodon server, or the account is gone: check the server.")
    return ""
