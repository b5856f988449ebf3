"""Runbooks: what happens in an incident without anybody remembering it, and never without an approval.

`KINDS[step["kind"]]` is the kind of a step, `running` walks through them.
"""

from . import calls, following, kinds
from .kinds import Kind

KINDS: dict[str, Kind] = {
    "draft": kinds.Draft(),
    "approval": kinds.Approval(),
    "publish": kinds.Publish(),
    "notify": kinds.Notify(),
    "chat": kinds.Chat(),
    "ask": kinds.Ask(),
    "wait": kinds.Wait(),
    "wait_for": kinds.WaitFor(),
    "branch": kinds.Branch(),
    "webhook": calls.Webhook(),
    "aws": calls.AwsCall(),
    "automation": following.Following(),
}
