"""What every way out has in common."""

import re
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from html import escape
from importlib.util import find_spec
from types import MappingProxyType
from typing import Any, ClassVar, NamedTuple
from urllib.parse import quote

from django import forms
from django.utils.functional import Promise

from channels import posts
from channels.errors import DeliveryError

FORMS = ("email", "sms", "post", "event", "page", "chat", "push", "voice")
TOKEN = re.compile(r"\[\[(\w+)\]\]")


@dataclass(frozen=True)
class Capabilities:
    """What a provider can do. Code asks these and never which provider it is."""

    form: str  # which words it carries, one of FORMS
    medium: str  # whose addresses it serves, a channels.models.Medium value: all channels of one share its recipients
    max_batch: int = 1  # recipients in one call of send()
    max_segments: int | None = None  # SMS: more is refused at review
    max_weight: int | None = None  # post: characters in one post, as `weigh` counts them
    weigh: posts.Weigh = posts.weighted_length  # post: how its network counts characters
    max_subject: int | None = None  # characters of the subject; more is refused at review
    thread: bool = False  # post: what is longer than max_weight goes out as a thread
    pictures: bool = False  # carries the picture of an update (Message.picture) with its alternative text
    broadcast: bool = False  # speaks to everybody at once: one delivery
    idempotent: bool = False  # the receiver drops a repeated Addressee.key
    many_servers: bool = False  # each address is a server of its own: a silent one says nothing of the others
    receipts: bool = False  # tells later what was delivered
    local: bool = False  # writes on this server alone and reaches nobody: for trials
    hears: bool = False  # finds what others say in public: it is a `Hearing`
    counted: bool = False  # its readers' browsers say that they showed it (channels.counting); refs are keys of notices
    ticket_pattern: str = ""  # tickets: what their ids look like, as a regular expression
    ticket_example: str = ""  # tickets: how one is written

    @property
    def public(self) -> bool:
        """Whether whoever likes reads what goes out by it (a page shows by itself only what is everybody's)."""
        return self.form == "post" or self.counted


class Addressee(NamedTuple):  # one for each recipient: a frozen dataclass takes four times as long to make
    """One recipient as a provider sees it. `values` fill the [[tokens]] of the message.

    `attributes` are those of the recipient: what an address needs besides itself, as the keys of a browser's push.
    """

    address: str
    name: str = ""
    key: str = ""  # stable across retries: an idempotency key
    values: Mapping[str, str] = MappingProxyType({})
    attributes: Mapping[str, Any] = MappingProxyType({})
    secrets: Sequence[str] = ()  # the recipient's own, that messages are signed with: own_secrets.in_force

    def __repr__(self) -> str:
        return f"Addressee({self.address!r}, key={self.key!r})"  # no secret stands in a log


@dataclass(frozen=True)
class MessagePicture:
    """A picture that goes with a message: a PNG or JPEG of at most channels.pictures.MAX_STORED bytes."""

    content: bytes = field(repr=False)
    content_type: str
    width: int
    height: int
    alt: str  # what it shows, for those who do not see it; never empty


@dataclass(frozen=True)
class Message:
    """A frozen message. `parts` by form:

    - email: subject, text, html
    - sms: text
    - post: text
    - event: subject, text, json
    - page: subject, text
    - chat: subject, text, url (text is plain, with a blank line between paragraphs)
    - push: subject, text, url (text is as short as an SMS), and facts for programs: the JSON of {"components": [id, …],
      "stage", "impact", "over"}
    - voice: text (sentences to be spoken; no address in them)
    """

    parts: Mapping[str, str]
    locale: str
    thread: str  # the same for all messages of one incident
    reference: str  # this dispatch, e.g. "dispatch-42"; a tag where the provider has tags
    picture: MessagePicture | None = None  # only where the capabilities say `pictures`


@dataclass(frozen=True)
class Outcome:
    """What became of one addressee: a provider reference, or an error."""

    ref: str = ""
    error: DeliveryError | None = None
    note: str = ""  # of a test: what is worth telling a person, as "in the sandbox"


class Provider(ABC):
    """A way out. One file each: SDK import, settings form and quirks included.

    Fields of `config_form` drawn with a PasswordInput are credentials: encrypted, write-only.
    """

    label: ClassVar[str | Promise]
    capabilities: ClassVar[Capabilities]
    config_form: ClassVar[type[forms.Form]]
    # Whether only a superuser may set it up, because its settings reach further than those of others.
    superuser_only: ClassVar[bool] = False
    # The module of an optional package without which it cannot work; it is imported on use.
    needs: ClassVar[str] = ""

    def __init__(self, config: Mapping[str, Any]) -> None:
        self.config = config

    @classmethod
    def is_installed(cls) -> bool:
        return not cls.needs or find_spec(cls.needs) is not None

    @abstractmethod
    def send(self, message: Message, recipients: Sequence[Addressee]) -> list[Outcome]:
        """Hand `message` over to at most `max_batch` recipients; one outcome each, in order.

        Raises a DeliveryError only if nobody was handed over, or Uncertain if that is in doubt for all. Fills in the
        [[tokens]] for each recipient with `personalise`. Never sleeps, never retries.
        """

    def probe(self) -> str:
        """Check credentials and reachability without sending anything. Raises a DeliveryError if they fail.

        Returns a sentence worth telling a person (a quota, a sandbox), or "". This default is for what has nobody to
        ask: it stays on the machine, or its servers are the recipients'. Any other must notice that nobody is there.
        """
        return ""

    def granted_rate(self) -> float | None:
        """People a second that the provider grants this account, asked after a successful probe; None: unknown."""
        return None

    def public_key(self) -> str:
        """The key that a browser subscribes with (applicationServerKey of the Push API); "" where there is none."""
        return ""

    def ticket_url(self, ticket: str) -> str:
        """The page of a ticket at the help desk; "" where nobody has said what its address looks like."""
        return str(self.config.get("ticket_url") or "").replace("{ticket}", quote(ticket, safe=""))

    def load(self) -> None:
        """Read what the first send would otherwise wait for. Called before the workers are forked: opens nothing."""

    def close(self) -> None:
        """Release connections kept between calls."""


@dataclass(frozen=True)
class Heard:
    """What somebody says in public. `author` is what the network calls them; nobody keeps that (feedback.social)."""

    id: str
    at: datetime
    text: str
    author: str
    language: str = ""  # as the network says, "" if it does not
    url: str = ""
    own: bool = False  # by the very account that looks for it


@dataclass(frozen=True)
class Page:
    """What one call found. `cursor` is where to go on, if need be after a crash; `more`: at once."""

    heard: list[Heard]
    cursor: dict[str, Any]
    more: bool = False


class Hearing(Provider):
    """A network on which can be looked for what others say: `capabilities.hears`."""

    @abstractmethod
    def hear(self, terms: Sequence[str], cursor: Mapping[str, Any]) -> Page:
        """The next page of what is new since `cursor`, which an earlier page gave; {}: from now on, with a few before.

        One or few calls. What it has gone past it never gives again, and nothing in between is left out. Raises
        DeliveryError.
        """


def personalise(text: str, values: Mapping[str, str], html: bool = False) -> str:
    """Fill [[tokens]] with a recipient's own values; unknown tokens stay as they are."""

    def value(match: re.Match[str]) -> str:
        found = values.get(match[1])
        if found is None:
            return match[0]
        return escape(found) if html else found

    return TOKEN.sub(value, text)
