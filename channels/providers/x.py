"""Posts on X, through version 2 of its API; what is too long for one post becomes a thread."""

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

from .base import Addressee, Capabilities, Message, Outcome, Provider
from .social import publish

TIMEOUT = (5, 15)  # seconds to connect, to answer


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
    capabilities = Capabilities(form="post", medium="broadcast", broadcast=True, max_weight=posts.LIMIT, thread=True)
    config_form = XForm

    @cached_property
    def client(self) -> tweepy.Client:
        client = tweepy.Client(**{name: self.config[name] for name in XForm.base_fields})
        client.session.mount("https://", _WithTimeout())
        return client

    def send(self, message: Message, recipients: Sequence[Addressee]) -> list[Outcome]:
        return [
            publish(message.parts["text"], self._post, posts.LIMIT, of_this_text=("duplicate", "400"))
            for _one in recipients
        ]

    def _post(self, text: str, before: list[str]) -> str:
        """Post once; the ID of the post. Raises DeliveryError."""
        parent = before[-1] if before else None
        reply = self._call(lambda: self.client.create_tweet(text=text, in_reply_to_tweet_id=parent))
        try:
            return str(reply.data["id"])
        except (KeyError, TypeError):
            raise Uncertain("bad-reply", _("X answered without the ID of the post.")) from None

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
