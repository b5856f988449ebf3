"""A fake server of the AT Protocol: log in, put and get records, pictures, search. It refuses what Bluesky refuses."""

import re
from datetime import datetime
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from tests.fakes.http import Call, FakeHttp, Reply

HANDLE, PASSWORD = "status.example.org", "fake-app-password"
DID = "did:plc:ewvi7nxzyoun6zhxrhs64oiz"
TID = re.compile(r"[234567abcdefghij][234567abcdefghijklmnopqrstuvwxyz]{12}")


class FakeBluesky(FakeHttp):
    def __init__(self) -> None:
        self.server = Server()
        super().__init__(self.server)

    @property
    def posts(self) -> list[dict[str, Any]]:
        """The records in the order in which they were made."""
        return [found["value"] for found in self.server.records.values()]


def said(number: int, words: str, at: str, author: str = "did:plc:somebody") -> dict[str, Any]:
    """What somebody says, as the server tells it."""
    record = {"$type": "app.bsky.feed.post", "text": words, "createdAt": at, "langs": ["en"]}
    return {
        "uri": f"at://{author}/app.bsky.feed.post/3k{number:011}",
        "cid": f"bafysaid{number}",
        "author": {"did": author, "handle": "somebody.example.org", "displayName": "Some Body"},
        "record": record,
        "indexedAt": at,
    }


class Server:
    """The rule of a FakeHttp. A log-in ends those before it where `expire()` is called."""

    def __init__(self) -> None:
        self.records: dict[str, dict[str, Any]] = {}
        self.blobs: dict[str, tuple[str, bytes]] = {}
        self.said: list[dict[str, Any]] = []  # what others say
        self.sessions = 0
        self.expired = 0

    def expire(self) -> None:
        self.expired = self.sessions

    def __call__(self, call: Call) -> Reply:
        url = urlsplit(call.path)
        name = url.path.removeprefix("/xrpc/")
        if name == "com.atproto.server.createSession":
            return self.log_in(call.json)
        number = call.headers.get("Authorization", "").removeprefix("Bearer jwt-")
        if not number:
            return refusal(401, "AuthMissing", "Authentication Required")
        if int(number) <= self.expired:
            return refusal(400, "ExpiredToken", "Token has expired")
        if name == "com.atproto.repo.uploadBlob":
            link = f"bafkrei{len(self.blobs)}"
            self.blobs[link] = (call.headers["Content-Type"], call.body)
            size, kind = len(call.body), call.headers["Content-Type"]
            return Reply(200, {"blob": {"$type": "blob", "ref": {"$link": link}, "mimeType": kind, "size": size}})
        if name == "com.atproto.repo.putRecord":
            return self.put(call.json)
        if name == "com.atproto.repo.getRecord":
            found = self.records.get(dict(parse_qsl(url.query))["rkey"])
            return Reply(200, found) if found else refusal(400, "RecordNotFound", "Could not locate record")
        if name == "app.bsky.feed.searchPosts":
            return self.search(dict(parse_qsl(url.query)))
        return refusal(501, "MethodNotImplemented", "Method Not Implemented")

    def search(self, query: dict[str, str]) -> Reply:
        """The newest first, from `since` on; https://docs.bsky.app/docs/api/app-bsky-feed-search-posts."""
        assert query["sort"] == "latest"
        size = int(query["limit"])
        if not 1 <= size <= 100:
            return refusal(400, "InvalidRequest", "Error: Params must have the property limit from 1 to 100")
        words = query["q"].strip('"').lower()
        found = [
            one
            for one in self.said
            if words in one["record"]["text"].lower() and one["indexedAt"] >= query.get("since", "")
        ]
        found.sort(key=lambda one: one["indexedAt"], reverse=True)
        start = int(query.get("cursor", "0"))
        more = {"cursor": str(start + size)} if len(found) > start + size else {}
        return Reply(200, {"posts": found[start : start + size], **more})

    def log_in(self, given: dict[str, Any]) -> Reply:
        if given != {"identifier": HANDLE, "password": PASSWORD}:
            return refusal(401, "AuthenticationRequired", "Invalid identifier or password")
        self.sessions += 1
        return Reply(200, {"did": DID, "handle": HANDLE, "accessJwt": f"jwt-{self.sessions}", "refreshJwt": "r"})

    def put(self, given: dict[str, Any]) -> Reply:
        key, record = given["rkey"], given["record"]
        assert (given["repo"], given["collection"], record["$type"]) == (DID, "app.bsky.feed.post", given["collection"])
        assert TID.fullmatch(key)
        assert datetime.fromisoformat(record["createdAt"]).tzinfo
        if len(record["text"].encode()) > 3000 or len(record["text"]) > 300:
            return refusal(400, "InvalidRequest", "Invalid app.bsky.feed.post record: Record/text must not be longer")
        if key in self.records and given["swapRecord"] is None:
            return refusal(400, "InvalidSwap", f"Record was at {self.records[key]['cid']}")
        known = [{"uri": one["uri"], "cid": one["cid"]} for one in self.records.values()]
        for reference in record.get("reply", {}).values():
            assert reference in known
        for image in record.get("embed", {}).get("images", []):
            assert record["embed"]["$type"] == "app.bsky.embed.images"
            assert image["image"]["ref"]["$link"] in self.blobs
        found = {"uri": f"at://{DID}/app.bsky.feed.post/{key}", "cid": f"bafy{len(known)}", "value": record}
        self.records[key] = found
        return Reply(200, {"uri": found["uri"], "cid": found["cid"], "validationStatus": "valid"})


def refusal(status: int, error: str, message: str) -> Reply:
    return Reply(status, {"error": error, "message": message})
