"""How Zendesk answers those that log in with the token."""

import base64
import re

from tests.fakes.http import Call, Reply

TOKEN = "fake-zendesk-token-never-to-be-seen"
LOGIN = f"agent@example.org/token:{TOKEN}"


def api(call: Call) -> Reply:
    if call.headers.get("Authorization") != f"Basic {base64.b64encode(LOGIN.encode()).decode()}":
        return Reply(401, {"error": "Couldn't authenticate you"})
    if call.path == "/api/v2/users/me.json":
        return Reply(200, {"user": {"id": 9, "name": "Agent Smith", "role": "agent"}})
    found = re.fullmatch(r"/api/v2/tickets/(\d+)\.json", call.path)
    if call.method == "PUT" and found:
        return Reply(200, {"ticket": {"id": int(found[1])}, "audit": {"id": 5000 + int(found[1])}})
    return Reply(404, {"error": "InvalidEndpoint", "description": "Not found"})
