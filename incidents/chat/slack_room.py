"""The channel of an incident in Slack."""

import logging
from collections.abc import Sequence
from typing import Any

from django.utils import timezone
from django.utils.text import slugify
from django.utils.translation import gettext_lazy

from channels.errors import DeliveryError, Permanent
from incidents.models import ChatAccount, ChatPost, Incident

from . import blocks, posting
from .room import Entry, Made, Room
from .slack import LOCKED_OUT

log = logging.getLogger(__name__)
NAME = 80  # characters of a channel's name
TOPIC = 250
PAGES = 20  # of the list of channels that are looked through, 200 on each
# Slack's words for “that is so already”.
DONE = {"already_in_channel", "already_pinned", "already_archived"}


class SlackRoom(Room):
    locked_out = posting.NO_ENTRY
    how = gettext_lazy(
        "Here: /incident clock, stage, draft, help. What is written in this channel goes to nobody else."
    )

    @staticmethod
    def name_for(incident: Incident, number: int = 1) -> str:
        """“inc-12-card-payments-fail”."""
        start, end = f"inc-{incident.pk}", f"-{number}" if number > 1 else ""
        slug = slugify(incident.title)[: NAME - len(start) - len(end) - 1].strip("-_")
        return f"{start}-{slug}{end}" if slug else f"{start}{end}"

    def topic_of(self, words: str) -> str:
        return blocks.safe(words)[:TOPIC]

    def _call(self, method: str, **arguments: Any) -> dict[str, Any]:
        return self.row.workspace.slack.call(method, **arguments)

    def _once(self, method: str, **arguments: Any) -> None:
        """Call a method whose work may be done already."""
        try:
            self._call(method, **arguments)
        except Permanent as error:
            if error.code not in DONE:
                raise

    # ── Make ──

    def create(self, again: bool, topic: str, people: Sequence[Any]) -> Made | None:
        try:
            private = self.row.workspace.rooms_private
            channel = self._call("conversations.create", name=self.row.name, is_private=private).get("channel") or {}
        except Permanent as error:
            if error.code != "name_taken":
                raise
            channel = (self._made_before() if again else None) or {}
        if not channel.get("id"):
            return None
        return Made(str(channel["id"]), str(channel.get("name") or self.row.name)[:NAME])

    def _made_before(self) -> dict[str, Any] | None:
        """The channel of this name that we made and did not write down; None if it is somebody else's."""
        assert self.row.asked_at
        since = (self.row.asked_at - posting.MARGIN).timestamp()
        cursor = ""
        for _page in range(PAGES):
            more = {"cursor": cursor} if cursor else {}
            said = self.row.workspace.slack.ask(
                "conversations.list", types="public_channel,private_channel", exclude_archived="true", limit=200, **more
            )
            for one in said.get("channels") or []:
                ours = one.get("creator") == self.row.workspace.bot and (one.get("created") or 0) >= since
                if one.get("name") == self.row.name and ours:
                    return one
            cursor = str((said.get("response_metadata") or {}).get("next_cursor") or "")
            if not cursor:
                break
        return None

    # ── Keep up to date ──

    def describe(self, topic: str) -> None:
        self._call("conversations.setTopic", channel=self.row.channel, topic=topic)

    def invite(self, people: Sequence[Any]) -> None:
        """Who is connected."""
        row = self.row
        known = ChatAccount.objects.filter(workspace=row.workspace, user__in=people).exclude(member__in=row.invited)
        for member in known.order_by("pk").values_list("member", flat=True):
            try:
                self._once("conversations.invite", channel=row.channel, users=member)
            except Permanent as error:
                if error.code in LOCKED_OUT or error.code in posting.GONE or error.code == "missing_scope":
                    raise
                log.warning("channel %s: a member cannot be invited: %s", row.pk, error.code)
            row.invited = [*row.invited, member]
            row.save(update_fields=["invited"])

    def post(self, one: ChatPost, entry: Entry) -> None:
        posting.post(one, shown(entry))

    def pin(self, one: ChatPost) -> None:
        if one.pinned_at is None:
            self._once("pins.add", channel=one.place, timestamp=one.ts)
            one.pinned_at = timezone.now()
            one.save(update_fields=["pinned_at"])

    def archive(self) -> bool:
        self._once("conversations.archive", channel=self.row.channel)
        return True

    def is_gone(self, error: DeliveryError) -> bool:
        return error.code in posting.GONE


def shown(entry: Entry) -> dict[str, Any]:
    """An entry as Slack lays it out."""
    facts = "\n".join(f"*{blocks.safe(label)}*: {blocks.safe(value)}" for label, value in entry.facts)
    links = " · ".join(blocks.link(address, label) for address, label in entry.links)
    laid_out = [
        *([blocks.small(f"*{blocks.safe(entry.lead)}*")] if entry.lead else []),
        blocks.header(entry.title),
        *([blocks.line(facts)] if facts else []),
        *blocks.exact(entry.text)[:30],
        *([blocks.line(links)] if links else []),
        *([blocks.small(blocks.safe(entry.note))] if entry.note else []),
    ]
    return blocks.message(laid_out, blocks.safe(entry.short))
