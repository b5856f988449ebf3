"""What a chat can do with the channel of an incident. `rooms` decides what, and when; a chat only how."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from channels.errors import DeliveryError
from incidents.models import ChatPost, ChatRoom, Incident


@dataclass(frozen=True)
class Entry:
    """What is said in a channel. Nothing that people wrote in it is markup, in any chat."""

    title: str
    lead: str = ""  # stands above the title
    facts: Sequence[tuple[Any, Any]] = ()  # label and value
    text: str = ""
    links: Sequence[tuple[str, Any]] = ()  # address and label
    note: str = ""

    @property
    def short(self) -> str:
        """For notifications."""
        return ". ".join(filter(None, [self.lead, self.title]))


@dataclass(frozen=True)
class Made:
    """A channel that is there."""

    channel: str
    name: str
    link: str = ""
    topic: str = ""  # if it was made with one


class Room(ABC):
    """The channel of one incident in one chat. Everything that calls the chat raises DeliveryError."""

    locked_out: set[str]  # the chat's words for: this app is not let in any more
    how: Any  # what can be done in the channel, for who comes in

    def __init__(self, row: ChatRoom) -> None:
        self.row = row

    @staticmethod
    @abstractmethod
    def name_for(incident: Incident, number: int = 1) -> str:
        """The name, as the chat takes it; with a number where the first one is taken."""

    @abstractmethod
    def topic_of(self, words: str) -> str:
        """What is shown about the channel, in the chat's own length and markup."""

    @abstractmethod
    def create(self, again: bool, topic: str, people: Sequence[Any]) -> Made | None:
        """Make it; None if its name is taken. `again`: it was asked for before, and is perhaps there.

        `people`: who is to be in it, for chats that want one from the start.
        """

    @abstractmethod
    def describe(self, topic: str) -> None: ...

    @abstractmethod
    def invite(self, people: Sequence[Any]) -> None:
        """These people and no fewer. Who cannot come in stops nobody."""

    @abstractmethod
    def post(self, one: ChatPost, entry: Entry) -> None:
        """Once, whatever happens."""

    def pin(self, one: ChatPost) -> None:
        """Where that can be done."""

    @abstractmethod
    def archive(self) -> bool:
        """Put it away; whether that is done. Else ask again later."""

    @abstractmethod
    def is_gone(self, error: DeliveryError) -> bool:
        """Whether somebody put it away, or deleted it, in the chat itself."""
