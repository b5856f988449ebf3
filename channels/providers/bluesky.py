"""Posts on Bluesky, and wherever else the AT Protocol is spoken; what is too long for one post becomes a thread.

https://docs.bsky.app/docs/advanced-guides/posts tells the shape of a post, https://atproto.com/specs that of the rest.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import Any
from urllib.parse import urlencode

from django import forms
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from channels import posts
from channels.errors import Permanent, Transient, Uncertain

from .base import Addressee, Capabilities, Heard, Hearing, Message, MessagePicture, Outcome, Page
from .http import MAX_REPLY, HttpProvider
from .social import MAX_FOUND, ServerField, moment, publish

LIMIT = 300  # graphemes; and 3,000 bytes of UTF-8
COLLECTION = "app.bsky.feed.post"
FOUND = 100  # posts on a page of a search: the most that the server gives
OVERLAP = timedelta(minutes=10)  # a post may be found some time after the moment that it is sorted by
# Of a post or picture that the server refuses; the next one may be taken.
OF_THIS_POST = ("InvalidRequest", "BlobTooLarge", "InvalidMimeType", "413")
# A record's key is a TID: 53 bits of microseconds, then 10 that tell clocks apart, as 13 characters of this alphabet.
ALPHABET = "234567abcdefghijklmnopqrstuvwxyz"
KEYS_FROM, KEYS_SPAN = 1_672_531_200_000_000, 3 * 365 * 86_400_000_000  # microseconds: from 2023 to 2025


class BlueskyForm(forms.Form):
    service = ServerField(
        label=gettext_lazy("Service"),
        initial="https://bsky.social",
        help_text=gettext_lazy("Where the account lives: https://bsky.social, unless you have a server of your own."),
    )
    identifier = forms.CharField(
        label=gettext_lazy("Handle"),
        help_text=gettext_lazy("Of the account that posts, for example status.example.org."),
    )
    app_password = forms.CharField(
        label=gettext_lazy("App password"),
        widget=forms.PasswordInput,
        help_text=gettext_lazy("Made under Settings → Privacy and security → App passwords; never the account's own."),
    )

    def clean_identifier(self) -> str:
        return self.cleaned_data["identifier"].removeprefix("@")


def _written(at: datetime) -> str:
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def weight(text: str) -> int:
    """Characters as Bluesky counts them, or a tenth of the bytes if that is more: both limits in one number."""
    return max(posts.graphemes(text), -(-len(text.encode()) // 10))


def facets(text: str) -> list[dict[str, Any]]:
    """What makes links of the addresses in `text`. Bluesky counts in bytes of UTF-8."""
    return [
        {
            "index": {"byteStart": len(text[:start].encode()), "byteEnd": len(text[:end].encode())},
            "features": [{"$type": "app.bsky.richtext.facet#link", "uri": text[start:end]}],
        }
        for start, end in posts.links(text)
    ]


def record_key(*parts: str) -> str:
    """A TID that is the same for the same `parts`.

    Its moment means nothing (https://atproto.com/specs/record-key), but lies in the past: nobody finds it implausible.
    """
    number = int.from_bytes(hashlib.sha256("\n".join(parts).encode()).digest())
    tid = (KEYS_FROM + number // 1024 % KEYS_SPAN) * 1024 + number % 1024
    return "".join(ALPHABET[tid >> 5 * place & 31] for place in reversed(range(13)))


@dataclass(frozen=True)
class Posted:
    uri: str
    cid: str

    def __str__(self) -> str:
        return self.uri

    @property
    def reference(self) -> dict[str, str]:
        return {"uri": self.uri, "cid": self.cid}


class Bluesky(HttpProvider, Hearing):
    """Idempotent: the record's key follows from the recipient's, and is put only where there is no record of it yet.

    `swapRecord: null` asks for that, and the answer InvalidSwap says that there is one already
    (https://docs.bsky.app/docs/api/com-atproto-repo-put-record). So repeating completes a thread, too.
    """

    label = gettext_lazy("Social post: Bluesky")
    capabilities = Capabilities(
        form="post",
        medium="broadcast",
        broadcast=True,
        idempotent=True,
        max_weight=LIMIT,
        weigh=weight,
        thread=True,
        pictures=True,
        hears=True,
    )
    config_form = BlueskyForm

    @cached_property
    def session(self) -> dict[str, str]:
        """did, handle, accessJwt. Raises DeliveryError, never Uncertain: nothing is public yet."""
        body = {"identifier": self.config["identifier"], "password": self.config["app_password"]}
        try:
            said = self._ask("POST", "com.atproto.server.createSession", body, login=True)
            return {name: str(said[name]) for name in ("did", "handle", "accessJwt")}
        except Uncertain as error:
            raise Transient(error.code, error.detail) from error
        except Permanent as error:
            if error.code.isdigit():
                raise
            fix = _("Check the handle and make a new app password: the account's own does not do.")
            raise Permanent(error.code, f"{error.detail} {fix}") from error
        except (KeyError, TypeError):
            raise Permanent("bad-reply", _("This is not a server of the AT Protocol: check the service.")) from None

    def send(self, message: Message, recipients: Sequence[Addressee]) -> list[Outcome]:
        return [self._publish(message, one) for one in recipients]

    def _publish(self, message: Message, one: Addressee) -> Outcome:
        def post(text: str, before: list[Posted]) -> Posted:
            key = record_key(message.thread, one.key, str(len(before)), text)
            record: dict[str, Any] = {
                "$type": COLLECTION,
                "text": text,
                "createdAt": timezone.now().strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
                "langs": [message.locale],
                "facets": facets(text),
            }
            if before:
                record["reply"] = {"root": before[0].reference, "parent": before[-1].reference}
            elif message.picture:
                record["embed"] = self._embed(message.picture)
            return self._put({"repo": account, "collection": COLLECTION, "rkey": key}, record)

        account = self.session["did"]
        return publish(message.parts["text"], post, LIMIT, weight, of_this_text=OF_THIS_POST)

    def hear(self, terms: Sequence[str], cursor: Mapping[str, Any]) -> Page:
        """One page of one term, the newest first; `top` is when the newest of the pages so far was said.

        https://docs.bsky.app/docs/api/app-bsky-feed-search-posts: `since` is inclusive, `cursor` goes on to older ones.
        """
        ordered = sorted(terms)
        if not ordered:
            return Page([], {})
        newest = {term: one for term, one in cursor.get("newest", {}).items() if term in ordered}
        at = min(int(cursor.get("at", 0)), len(ordered) - 1)
        term = ordered[at]
        same = cursor.get("term") == term
        there = cursor.get("next") if same else None
        query = {"q": term if term.startswith("#") else f'"{term}"', "sort": "latest", "limit": str(FOUND)}
        query |= {"since": _written(datetime.fromisoformat(newest[term]) - OVERLAP)} if term in newest else {}
        query |= {"cursor": there} if there else {}
        try:
            said = self._ask("GET", f"app.bsky.feed.searchPosts?{urlencode(query)}")
        except Permanent as error:
            raise self._ended(error) from error
        found = said.get("posts") if isinstance(said, dict) else None
        if not isinstance(found, list):
            raise Permanent("bad-reply", _("This is not a server of the AT Protocol: check the service."))
        heard = [self._heard(one) for one in found if isinstance(one, dict) and one.get("uri")]
        times = [_written(one.at) for one in heard]
        top = max([*times, *([cursor["top"]] if same and cursor.get("top") else []), newest.get(term, "")])
        # Without a `since` there is no end to it: one page is enough to begin with.
        if said.get("cursor") and found and term in newest:
            kept = {"newest": newest, "at": at, "term": term, "next": str(said["cursor"]), "top": top}
            return Page(heard, kept, more=True)
        newest |= {term: top} if top else {}
        last = at + 1 == len(ordered)
        return Page(heard, {"newest": newest, "at": 0 if last else at + 1}, more=not last)

    def _heard(self, post: Mapping[str, Any]) -> Heard:
        record, author = post.get("record") or {}, str((post.get("author") or {}).get("did", ""))
        languages = record.get("langs") or [""]
        return Heard(
            id=str(post["uri"]),
            at=min(moment(post.get("indexedAt")), moment(record.get("createdAt"))),
            text=str(record.get("text") or ""),
            author=author,
            language=str(languages[0]) if len(languages) == 1 else "",
            url=f"https://bsky.app/profile/{author}/post/{str(post['uri']).rpartition('/')[2]}",
            own=author == self.session["did"],
        )

    def _embed(self, picture: MessagePicture) -> dict[str, Any]:
        """Hand the picture over; how the record of a post names it. Raises DeliveryError, never Uncertain.

        https://docs.bsky.app/docs/advanced-guides/posts#images-embeds: a server drops what no record names.
        """
        try:
            said = self._ask("POST", "com.atproto.repo.uploadBlob", picture.content, kind=picture.content_type)
            blob = said["blob"]
        except Permanent as error:
            raise self._ended(error) from error
        except Uncertain as error:
            raise Transient(error.code, error.detail) from error
        except (KeyError, TypeError):
            raise Transient("bad-reply", _("The server answered without the address of the picture.")) from None
        size = {"width": picture.width, "height": picture.height}
        return {
            "$type": "app.bsky.embed.images",
            "images": [{"image": blob, "alt": picture.alt, "aspectRatio": size}],
        }

    def _ended(self, error: Permanent) -> Permanent | Transient:
        """`error`, or that the session has ended, which the next try begins anew."""
        if error.code != "ExpiredToken":
            return error
        self.__dict__.pop("session", None)
        return Transient(error.code, error.detail)

    def _put(self, where: dict[str, str], record: dict[str, Any]) -> Posted:
        """Make the record unless it is there. Raises DeliveryError."""
        try:
            body = {**where, "record": record, "swapRecord": None}
            said = self._ask("POST", "com.atproto.repo.putRecord", body)
        except Permanent as error:
            if error.code != "InvalidSwap":
                raise self._ended(error) from error
            said = self._there(where)
        try:
            return Posted(str(said["uri"]), str(said["cid"]))
        except (KeyError, TypeError):
            raise Uncertain("bad-reply", _("The server answered without the address of the post.")) from None

    def _there(self, where: dict[str, str]) -> Any:
        """The post that is public already."""
        try:
            return self._ask("GET", f"com.atproto.repo.getRecord?{urlencode(where)}")
        except Permanent as error:
            raise Uncertain(error.code, error.detail) from error

    def _ask(self, method: str, call: str, body: Any = None, login: bool = False, kind: str = "") -> Any:
        """One call of XRPC: what the server says; `kind` is the type of a body that is no JSON.

        Raises DeliveryError, its code the server's word.
        """
        headers = {} if login else {"Authorization": f"Bearer {self.session['accessJwt']}"}
        if kind:
            headers["Content-Type"] = kind
        longest = MAX_FOUND if method == "GET" else MAX_REPLY
        status, said, _headers = self.call(method, f"{self.config['service']}/xrpc/{call}", body, headers, longest)
        if status >= 400 and not isinstance(said, dict):
            raise Permanent(str(status), _("This is not a server of the AT Protocol: check the service."))
        if status >= 400:
            raise Permanent(str(said.get("error") or status), str(said.get("message") or ""))
        return said

    def probe(self) -> str:
        self.__dict__.pop("session", None)
        return _("Posts appear as @%s.") % self.session["handle"]

    def close(self) -> None:
        self.__dict__.pop("session", None)
        super().close()
