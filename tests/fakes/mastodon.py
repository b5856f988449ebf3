"""A fake Mastodon server: posts, pictures, who am I, its limit, search; a repeated Idempotency-Key posts nothing."""

import re
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

from tests.fakes.http import Call, FakeHttp, Reply

TOKEN = "fake-mastodon-token"


class FakeMastodon(FakeHttp):
    def __init__(self, max_characters: int | None = 500) -> None:
        self.server = Server(max_characters)
        super().__init__(self.server)

    @property
    def posts(self) -> list[dict[str, Any]]:
        return self.server.posts


def said(number: int, words: str, at: str = "2026-11-03T14:02:10.000Z", account: str = "9") -> dict[str, Any]:
    """What somebody says, as the server tells it."""
    who = {"id": account, "acct": f"user{account}", "url": f"https://social.example.org/@user{account}"}
    address = f"https://social.example.org/@user{account}/{number}"
    return {
        "id": str(number),
        "uri": address,
        "url": address,
        "created_at": at,
        "language": "en",
        "content": f"<p>{words}</p>",
        "account": who,
    }


class Server:
    """The rule of a FakeHttp. Without `max_characters` it is older than version 4 and does not tell its limit."""

    def __init__(self, max_characters: int | None = 500) -> None:
        self.max_characters = max_characters
        self.posts: list[dict[str, Any]] = []
        self.keys: dict[str, dict[str, Any]] = {}
        self.media: dict[str, dict[str, Any]] = {}
        self.said: list[dict[str, Any]] = []  # what others say, the oldest first
        self.slow = 0  # times that a picture is still being worked on when it is asked for

    def __call__(self, call: Call) -> Reply:
        if call.headers.get("Authorization") != f"Bearer {TOKEN}":
            return Reply(401, {"error": "The access token is invalid"})
        url = urlsplit(call.path)
        query = dict(parse_qsl(url.query))
        match call.method, url.path:
            case "GET", path if path.startswith("/api/v1/timelines/tag/"):
                tag = "#" + unquote(path.rpartition("/")[2])
                return Reply(200, self.found(tag, query))
            case "GET", "/api/v2/search":
                assert query["type"] == "statuses"
                return Reply(
                    200, {"accounts": [], "hashtags": [], "statuses": self.found(query["q"].strip('"'), query)}
                )
            case "GET", "/api/v1/accounts/verify_credentials":
                return Reply(200, {"id": "1", "username": "status", "acct": "status"})
            case "GET", "/api/v2/instance" if self.max_characters:
                return Reply(200, {"configuration": {"statuses": {"max_characters": self.max_characters}}})
            case "POST", "/api/v1/statuses":
                return self.post(call.json, call.headers.get("Idempotency-Key", ""))
            case "POST", "/api/v2/media":
                number = str(700 + len(self.media))
                self.media[number] = call.form
                return Reply(202 if self.slow else 200, {"id": number, "type": "image", "url": None})
            case "GET", path if path.removeprefix("/api/v1/media/") in self.media:
                self.slow -= 1
                return Reply(206 if self.slow > 0 else 200, {"id": path.rpartition("/")[2]})
        return Reply(404, {"error": "Record not found"})

    def found(self, words: str, query: dict[str, str]) -> list[dict[str, Any]]:
        """The newest first; with `min_id` those that follow right after it."""
        all_of_it = [one for one in self.said if words.lower() in one["content"].lower()]
        size = min(int(query["limit"]), 40)
        after = [one for one in all_of_it if int(one["id"]) > int(query.get("min_id", "0"))]
        return (after[:size] if "min_id" in query else after[-size:])[::-1]

    def post(self, given: dict[str, Any], key: str) -> Reply:
        if key in self.keys:
            return Reply(200, self.keys[key])
        text, parent = given["status"], given.get("in_reply_to_id")
        if len(re.sub(r"https?://\S+[^\s.,)]", "x" * 23, text)) > (self.max_characters or 500):
            return Reply(422, {"error": "Validation failed: Text character limit of 500 exceeded"})
        if parent and parent not in {post["id"] for post in self.posts}:
            return Reply(404, {"error": "Record not found"})
        if not set(given.get("media_ids", [])) <= set(self.media):
            return Reply(422, {"error": "Validation failed: media not found"})
        number = str(900 + len(self.posts))
        self.posts.append({**given, "id": number, "key": key})
        reply = {"id": number, "url": f"https://social.example.org/@status/{number}"}
        if key:
            self.keys[key] = reply
        return Reply(200, reply)
