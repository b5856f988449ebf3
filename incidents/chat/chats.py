"""Which code speaks to which chat: its check, and its channels."""

from incidents.models import ChatRoom, ChatWorkspace, Incident

from . import slack, teams
from .room import Room
from .slack_room import SlackRoom
from .teams_room import TeamsRoom

Service = ChatWorkspace.Service
CHECKS = {Service.SLACK: slack.check, Service.TEAMS: teams.check}
ROOMS: dict[str, type[Room]] = {Service.SLACK: SlackRoom, Service.TEAMS: TeamsRoom}


def check(workspace: ChatWorkspace) -> tuple[dict[str, str], list[str]]:
    """What the chat says of a workspace, by its fields, and what is missing, in words. Raises DeliveryError."""
    return CHECKS[Service(workspace.service)](workspace)


def room_of(row: ChatRoom) -> Room:
    return ROOMS[row.workspace.service](row)


def name_for(workspace: ChatWorkspace, incident: Incident, number: int = 1) -> str:
    """What this chat takes as the name of the incident's channel."""
    return ROOMS[workspace.service].name_for(incident, number)
