"""The channel of an incident in Microsoft Teams."""

import logging
import re
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from django.conf import settings
from django.urls import reverse
from django.utils.dateparse import parse_datetime
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from channels.errors import DeliveryError, Permanent
from incidents.models import ChatPost, Incident
from incidents.models.decision import name_of

from . import cards, posting
from .room import Entry, Made, Room
from .teams import GONE, LOCKED_OUT, path_of

log = logging.getLogger(__name__)
NAME = 50  # characters of a channel's name
TOPIC = 250
RECENT = 50  # messages that Graph gives at once
MARGIN = timedelta(minutes=2)  # between our clock and Microsoft's
NOT_IN_IT = {"BotNotInConversationRoster", "Forbidden", "MessageWritesBlocked"}  # the bot, in a channel
ODATA_USER = "#microsoft.graph.aadUserConversationMember"


class TeamsRoom(Room):
    """In standard channels the team reads along. In private ones Teams lets a bot write once a person has added it."""

    locked_out = LOCKED_OUT
    how = gettext_lazy(
        "What is written in this channel goes to nobody else. Work on the incident is done in the portal."
    )

    def __init__(self, row: Any) -> None:
        super().__init__(row)
        self.teams = row.workspace.teams

    @property
    def _channels(self) -> str:
        return f"/teams/{path_of(self.row.workspace.team)}/channels"

    @property
    def _channel(self) -> str:
        return f"{self._channels}/{path_of(self.row.channel)}"

    @property
    def _private(self) -> bool:
        return self.row.workspace.rooms_private

    @staticmethod
    def name_for(incident: Incident, number: int = 1) -> str:
        """“inc-12 Card payments fail”: letters, digits and little else, for it becomes the name of a folder too."""
        start, end = f"inc-{incident.pk}", f" {number}" if number > 1 else ""
        words = " ".join(re.sub(r"[^\w\s()-]|_", " ", incident.title).split())
        left = NAME - len(start) - len(end) - 1
        while len(words.encode("utf-16-le")) > 2 * left:  # as Microsoft counts
            words = words[:-1]
        return f"{start} {words}".strip() + end

    def topic_of(self, words: str) -> str:
        return " ".join(words.split())[:TOPIC]

    def _description(self, topic: str) -> str:
        """With the address of the incident: who reads it finds the portal, and the portal its channel."""
        return f"{topic} · {self._page}"

    @property
    def _page(self) -> str:
        return f"{settings.PORTAL_URL}{reverse('admin:incidents_incident_change', args=[self.row.incident_id])}"

    # ── Make ──

    def create(self, again: bool, topic: str, people: Sequence[Any]) -> Made | None:
        """Looked for before it is asked for again: Teams may have made what it never answered."""
        row = self.row
        if again:
            for one in self.teams.every(self._channels, select="id,displayName,description,createdDateTime,webUrl"):
                if str(one.get("displayName") or "").casefold() == row.name.casefold():
                    return self._made(one, "") if self._is_ours(one) else None
        asked: dict[str, Any] = {
            "displayName": row.name,
            "description": self._description(topic),
            "membershipType": "private" if self._private else "standard",
        }
        try:
            return self._made(self._asked(asked, people), topic)
        except Permanent as error:
            if "already exist" in error.detail:  # of a channel that was deleted less than 30 days ago, too
                return None
            raise

    def _asked(self, asked: dict[str, Any], people: Sequence[Any]) -> dict[str, Any]:
        """Teams wants an owner for a private channel: the first of who holds a role and is in the team."""
        if not self._private:
            return self.teams.graph("POST", self._channels, asked)
        refused: Permanent | None = None
        for user in filter(None, (self._user(one.email) for one in people)):
            try:
                return self.teams.graph("POST", self._channels, {**asked, "members": [_member(user, "owner")]})
            except Permanent as error:
                if "already exist" in error.detail or error.code in LOCKED_OUT or error.code == "Forbidden":
                    raise
                refused = error
        names = ", ".join(map(name_of, people)) or "—"
        text = _(
            "A private channel needs an owner who is in the team. Of who holds a role here (%(names)s), nobody is."
        )
        raise refused or Permanent("no-owner", text % {"names": names})

    def _made(self, told: dict[str, Any], topic: str) -> Made:
        link = str(told.get("webUrl") or "")
        return Made(
            str(told.get("id") or ""),
            str(told.get("displayName") or self.row.name)[:NAME],
            link if link.startswith("https://") else "",
            topic,
        )

    def _is_ours(self, told: dict[str, Any]) -> bool:
        at = parse_datetime(str(told.get("createdDateTime") or ""))
        assert self.row.asked_at
        fresh = at is None or at >= self.row.asked_at - MARGIN
        return fresh and self._page in str(told.get("description") or "")

    # ── People ──

    def _user(self, email: str) -> str:
        """Microsoft's ID of who has this address; "" if nobody has."""
        if not email:
            return ""
        quoted = email.replace("'", "''")
        asked = f"mail eq '{quoted}' or userPrincipalName eq '{quoted}'"
        found = self.teams.graph("GET", "/users", filter=asked, select="id").get("value") or []
        return str(found[0].get("id") or "") if len(found) == 1 else ""

    def invite(self, people: Sequence[Any]) -> None:
        """Of a private channel; the others are read by the whole team. Only who is in the team can come in."""
        if not self._private:
            return
        row = self.row
        missing = [one for one in people if one.pk not in row.invited]
        if not missing:
            return
        there = {one.get("userId") for one in self.teams.every(f"{self._channel}/members")}  # its owner, for one
        for one in missing:
            user = self._user(one.email)
            try:
                if user and user not in there:
                    self.teams.graph("POST", f"{self._channel}/members", _member(user))
            except Permanent as error:
                if error.code in LOCKED_OUT or error.code in GONE or error.code == "Forbidden":
                    raise
                log.warning("channel %s: a member cannot be added: %s", row.pk, error.code)
            row.invited = [*row.invited, one.pk]
            row.save(update_fields=["invited"])

    # ── Say ──

    def describe(self, topic: str) -> None:
        self.teams.graph("PATCH", self._channel, {"description": self._description(topic)})

    def post(self, one: ChatPost, entry: Entry) -> None:
        posting.once(one, lambda: self._send(one, entry), self._found)
        self.row.workspace.complain("")

    def _send(self, one: ChatPost, entry: Entry) -> str:
        asked = {
            "isGroup": True,
            "bot": {"id": f"28:{self.teams.app}"},
            "tenantId": self.teams.tenant,
            "channelData": {"channel": {"id": one.place}, "tenant": {"id": self.teams.tenant}},
            "activity": cards.activity(entry, one.key),
        }
        try:
            said = self.teams.bot("POST", "/v3/conversations", asked)
        except Permanent as error:
            if self._private and error.code in NOT_IN_IT:
                text = _("Teams lets the app write in a private channel only once a person has added it there.")
                raise Permanent(error.code, text) from error
            raise
        return str(said.get("activityId") or said.get("id") or "")[-32:]

    def _found(self, one: ChatPost) -> str:
        """The message that was perhaps posted; "" if it is not there, or may not be looked for.

        Then it is posted twice, which harms less than never.
        """
        assert one.tried_at
        try:
            said = self.teams.graph("GET", f"{self._channel}/messages", top=RECENT)
        except Permanent as error:
            if error.code in GONE or error.code in LOCKED_OUT:
                raise
            return ""
        for message in said.get("value") or []:
            contents = [str(part.get("content") or "") for part in message.get("attachments") or []]
            if any(f'"{one.key}"' in content for content in contents):
                return str(message.get("id") or "")[:32]
        return ""

    # ── Put away ──

    def archive(self) -> bool:
        """Teams begins it and does it later; it is away once Teams says so."""
        row = self.row
        if row.archiving:
            said = self.teams.graph("GET", row.archiving)
            if said.get("status") == "succeeded":
                return True
            if said.get("status") == "failed":
                row.archiving = ""
                row.save(update_fields=["archiving"])
                why = str((said.get("error") or {}).get("message") or _("it did not say why"))
                raise Permanent("archive-failed", _("Teams could not archive the channel: %(why)s") % {"why": why})
            return False
        if self._is_archived():
            return True
        row.archiving = self.teams.begin(f"{self._channel}/archive")[:400]
        row.save(update_fields=["archiving"])
        return False

    def _is_archived(self) -> bool:
        return self.teams.graph("GET", self._channel, select="id,isArchived").get("isArchived") is True

    def is_gone(self, error: DeliveryError) -> bool:
        if error.code in GONE:
            return True
        if error.code in LOCKED_OUT:
            return False
        try:
            return self._is_archived()
        except DeliveryError:
            return False


def _member(user: str, *roles: str) -> dict[str, Any]:
    return {
        "@odata.type": ODATA_USER,
        "roles": list(roles),
        "user@odata.bind": f"{settings.GRAPH_API}/users('{user}')",
    }
