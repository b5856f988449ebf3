"""Whether Slack wrote a request: signed with the app's secret, within five minutes, and not seen before.

As of docs.slack.dev/authentication/verifying-requests-from-slack.
"""

import hashlib
import hmac
import time
from collections.abc import Mapping

from incidents.models import ChatWorkspace

SECONDS = 5 * 60


class Refused(Exception):
    """Not signed by Slack for this workspace, too old, or told before. HTTP 403."""


def verify(workspace: ChatWorkspace, body: bytes, headers: Mapping[str, str]) -> str:
    """A hash of the signature, by which a repetition is known. Raises Refused."""
    at, shown = headers.get("X-Slack-Request-Timestamp", ""), headers.get("X-Slack-Signature", "")
    if not (at.isascii() and at.isdigit() and len(at) < 12) or abs(time.time() - int(at)) > SECONDS:
        raise Refused("The time of the request is missing, or more than five minutes off.")
    secret = workspace.secrets.get("signing_secret", "")
    ours = "v0=" + hmac.new(secret.encode(), b"v0:" + at.encode() + b":" + body, hashlib.sha256).hexdigest()
    if not secret or not hmac.compare_digest(ours.encode(), shown.encode("utf-8", "replace")):
        raise Refused("The signature does not match the signing secret of this workspace.")
    return hashlib.sha256(f"{workspace.pk}:{ours}".encode()).hexdigest()
