"""Posts on X, through version 2 of its API; what is too long for one post becomes a thread.

tweepy knows no upload of version 2, so that it is written here: https://docs.x.com/x-api/media/upload-media and
https://docs.x.com/x-api/media/create-media-metadata tell its shape.
"""

import time
from collections.abc import Sequence
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

from .base import Addressee, Capabilities, Message, MessagePicture, Outcome, Provider
from .social import publish

MEDIA = "https://api.x.com/2/media"
TIMEOUT = (5, 15)  # seconds to connect, to answer
MEDIA_TIMEOUT = (5, 8)  # both uploads and the post together take less than a worker's lease
# Of a post that X refuses; the next one may be taken. 413: the picture is too large.
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


class X(Provider):
    label = gettext_lazy("Social post: X")
    capabilities = Capabilities(
        form="post", medium="broadcast", broadcast=True, max_weight=posts.LIMIT, thread=True, pictures=True
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
