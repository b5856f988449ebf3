"""Posts on X, through version 2 of its API; what is too long for one post becomes a thread.

tweepy knows no upload of version 2, so that it is written here: https://docs.x.com/x-api/media/upload-media and
https://docs.x.com/x-api/media/create-media-metadata tell its shape.
"""

import time
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

import requests
import tweepy
from django import forms
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from requests.adapters import HTTPAdapter
from urllib3.exceptions import MaxRetryError, NewConnectionError

from channels import posts
from channels.errors import DeliveryError, Permanent, Throttled, Transient, Uncertain

from .base import Addressee, Capabilities, Heard, Hearing, Message, MessagePicture, Outcome, Page
from .social import moment, publish

MEDIA = "https://api.x.com/2/media"
TIMEOUT = (5, 15)  # seconds to connect, to answer
MEDIA_TIMEOUT = (5, 8)  # both uploads and the post together take less than a worker's lease
# Of a post that X refuses; the next one may be taken. 413: the picture is too large.
QUERY = 512  # characters of a query that every account may ask
FOUND = 100  # posts on a page
OF_THIS_POST = ("duplicate", "400", "413")


class XForm(forms.Form):
    consumer_key = forms.CharField(label=gettext_lazy("API key"), widget=forms.PasswordInput)
    consumer_secret = forms.CharField(label=gettext_lazy("API key secret"), widget=forms.PasswordInput)
    access_token = forms.CharField(
        label=gettext_lazy("Access token"),
        widget=forms.PasswordInput,
        help_text=gettext_lazy("Of the account that posts, made after the app was given “Read and write”."),
    )
    access_token_secret = forms.CharField(label=gettext_lazy("Access token secret"), widget=forms.PasswordInput)


class _WithTimeout(HTTPAdapter):
    """tweepy has no timeout at all: a lost connection would hold a worker forever."""

    def send(self, request: requests.PreparedRequest, **kwargs: Any) -> requests.Response:  # type: ignore[override]
        return super().send(request, **{**kwargs, "timeout": kwargs.get("timeout") or TIMEOUT})


class X(Hearing):
    label = gettext_lazy("Social post: X")
    capabilities = Capabilities(
        form="post", medium="broadcast", broadcast=True, max_weight=posts.LIMIT, thread=True, pictures=True, hears=True
    )
    config_form = XForm

    @cached_property
    def client(self) -> tweepy.Client:
        client = tweepy.Client(**{name: self.config[name] for name in XForm.base_fields})
        client.session.mount("https://", _WithTimeout())
        return client

    def send(self, message: Message, recipients: Sequence[Addressee]) -> list[Outcome]:
        def post(text: str, before: list[str]) -> str:
            return self._post(text, before, message.picture)

        return [publish(message.parts["text"], post, posts.LIMIT, of_this_text=OF_THIS_POST) for _one in recipients]

    def _post(self, text: str, before: list[str], picture: MessagePicture | None) -> str:
        """Post once, the first of a thread with the picture; the ID of the post. Raises DeliveryError."""
        parent = before[-1] if before else None
        media = [self._upload(picture)] if picture and not before else None
        reply = self._call(lambda: self.client.create_tweet(text=text, in_reply_to_tweet_id=parent, media_ids=media))
        try:
            return str(reply.data["id"])
        except (KeyError, TypeError):
            raise Uncertain("bad-reply", _("X answered without the ID of the post.")) from None

    def hear(self, terms: Sequence[str], cursor: Mapping[str, Any]) -> Page:
        """Recent search, the newest first: while there are older pages, `since` stays and `top` remembers the newest.

        https://docs.x.com/x-api/posts/search/introduction: seven days back, words in quotes, up to 512 characters.
        """
        queries = _queries(terms)
        if not queries:
            return Page([], dict(cursor))
        done = dict(cursor.get("done", {}))  # by query: the newest post that was read
        at = min(int(cursor.get("at", 0)), len(queries) - 1)
        since, token, top = done.get(queries[at]), cursor.get("next"), cursor.get("top")
        if cursor.get("query") not in (None, queries[at]):  # the terms were changed in the middle of its pages
            token = top = None
        reply = self._search(queries[at], since, token)
        tweets, meta = reply.data or [], reply.meta or {}
        top = max(filter(None, [top, since, *(str(one.id) for one in tweets)]), key=int, default=None)
        heard = [self._heard(one) for one in tweets]
        # Without a `since` there is no end to it but a week ago: one page is enough to begin with.
        if meta.get("next_token") and since:
            there = {"done": done, "at": at, "query": queries[at], "next": meta["next_token"], "top": top}
            return Page(heard, there, more=True)
        done = {query: done[query] for query in queries if query in done} | ({queries[at]: top} if top else {})
        last = at + 1 == len(queries)
        return Page(heard, {"done": done, "at": 0 if last else at + 1}, more=not last)

    def _search(self, query: str, since: str | None, token: str | None) -> Any:
        def search(since: str | None) -> Any:
            return self._call(
                lambda: self.client.search_recent_tweets(
                    query,
                    since_id=since,
                    next_token=token,
                    max_results=FOUND,
                    tweet_fields=["created_at", "lang", "author_id"],
                    user_auth=True,
                )
            )

        try:
            return search(since)
        except Permanent as error:
            # It was last asked more than a week ago, which is further back than X looks.
            if since is None or error.code != "400" or "since_id" not in error.detail:
                raise
            return search(None)

    def _heard(self, tweet: Any) -> Heard:
        return Heard(
            id=str(tweet.id),
            at=moment(tweet.created_at.isoformat() if tweet.created_at else None),
            text=tweet.text or "",
            author=str(tweet.author_id),
            language=tweet.lang or "",
            url=f"https://x.com/i/web/status/{tweet.id}",
            # A token begins with the number of its account.
            own=str(tweet.author_id) == self.config["access_token"].partition("-")[0],
        )

    def _upload(self, picture: MessagePicture) -> str:
        """Hand the picture over, then what it shows; the ID by which a post names it.

        Raises DeliveryError, never Uncertain: nobody sees a picture that no post names.
        """
        file = ("picture", picture.content, picture.content_type)
        try:
            said = self._call(
                lambda: self._ask("/upload", files={"media": file}, data={"media_category": "tweet_image"})
            )
            number = str(said["data"]["id"])
            alt = {"id": number, "metadata": {"alt_text": {"text": picture.alt}}}
            self._call(lambda: self._ask("/metadata", json=alt))
        except Uncertain as error:
            raise Transient(error.code, error.detail) from error
        except (KeyError, TypeError):
            raise Transient("bad-reply", _("X answered without the ID of the picture.")) from None
        return number

    def _ask(self, path: str, **body: Any) -> Any:
        """One call on tweepy's session, signed as its own are; what X says, in JSON."""
        keys = {name: self.config[name] for name in XForm.base_fields}
        with self.client.session.post(
            f"{MEDIA}{path}",
            auth=tweepy.OAuth1UserHandler(**keys).apply_auth(),
            headers={"User-Agent": self.client.user_agent},
            allow_redirects=False,
            timeout=MEDIA_TIMEOUT,
            **body,
        ) as reply:
            if not 200 <= reply.status_code < 300:
                raise tweepy.HTTPException(reply)
            return reply.json() if reply.content else {}

    def _call(self, call: Any) -> Any:
        try:
            return call()
        except tweepy.HTTPException as error:
            raise _refused(error) from error
        except requests.RequestException as error:
            raise _unanswered(error) from error
        except (ValueError, AttributeError, TypeError) as error:
            # tweepy trips over replies that are not of the expected shape.
            raise Uncertain("bad-reply", f"{type(error).__name__}: {error}") from error

    def probe(self) -> str:
        me = self._call(self.client.get_me)
        return _("Posts appear as @%s.") % me.data.username if me.data else ""

    def close(self) -> None:
        if "client" in self.__dict__:
            self.client.session.close()
            del self.client


def _queries(terms: Sequence[str]) -> list[str]:
    """Queries that ask for all terms, each as short as it has to be. Posts that only repeat others are left out."""
    found: list[str] = []
    some: list[str] = []
    for one in sorted(terms):
        if some and len(_query([*some, one])) > QUERY:
            found.append(_query(some))
            some = []
        some.append(one)
    return [*found, _query(some)] if some else found


def _query(terms: Sequence[str]) -> str:
    words = [one if one.startswith("#") and " " not in one else f'"{one}"' for one in terms]
    return f"({' OR '.join(words)}) -is:retweet"


def _refused(error: tweepy.HTTPException) -> DeliveryError:
    status, detail = error.response.status_code, " ".join(str(m) for m in error.api_messages) or str(error)
    if status == 429:
        return Throttled("429", detail, retry_after=_patience(error.response.headers))
    if status >= 500:
        return Uncertain(str(status), detail)
    if status == 403 and "duplicate" in detail.lower():
        said = _("The account has a post with exactly these words already; look at it, and change the words if needed.")
        return Permanent("duplicate", f"{said} ({detail})")
    return Permanent(str(status), detail)


def _patience(headers: Any) -> float:
    """Seconds until X takes posts again: by the day's limit of account or app if that is used up, else the window's."""
    resets = [
        headers.get(f"x-{scope}-limit-24hour-reset")
        for scope in ("user", "app")
        if headers.get(f"x-{scope}-limit-24hour-remaining") == "0"
    ]
    known = [int(reset) for reset in [*resets, headers.get("x-rate-limit-reset")] if str(reset or "").isdigit()]
    return min(max(known[0] - time.time() + 1, 1), 24 * 3600) if known else 900


def _unanswered(error: requests.RequestException) -> DeliveryError:
    name = type(error).__name__
    cause = error.args[0] if error.args else None
    refused = isinstance(cause, MaxRetryError) and isinstance(cause.reason, NewConnectionError)
    if refused or isinstance(error, requests.ConnectTimeout | requests.exceptions.SSLError):
        return Transient(name, str(error))
    return Uncertain(name, str(error))
