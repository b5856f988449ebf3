"""A fake of the X API on loopback: posts, replies, pictures, search, who am I; it checks signatures as X does."""

import base64
import hmac
import json
import re
import threading
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, quote, unquote

import requests
from oauthlib.oauth1.rfc5849 import signature  # type: ignore[import-untyped]
from requests.adapters import HTTPAdapter

from channels.posts import weighted_length
from tests.fakes.aws import Drop, Hang
from tests.fakes.http import form

KEYS = {
    "consumer_key": "fakeconsumerkey",
    "consumer_secret": "fake-consumer-secret",
    "access_token": "1-fakeaccesstoken",
    "access_token_secret": "fake-access-token-secret",
}


@dataclass(frozen=True)
class Reply:
    status: int
    body: Any = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)


class FakeX:
    """`posts` is the timeline, `media` what was uploaded; `script()` queues what the next calls meet.

    `said` is what others say, and is found by a search; nothing before the id `oldest`, which is a week old.
    """

    def __init__(self) -> None:
        self.posts: list[dict[str, Any]] = []
        self.said: list[dict[str, Any]] = []
        self.oldest = 0
        self.media: dict[str, dict[str, Any]] = {}
        self.calls: list[str] = []
        self.steps: deque[Reply | Drop | Hang | None] = deque()
        self.closing = threading.Event()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"fake": self}))
        self._server.daemon_threads = True
        self._server.block_on_close = False
        self.port = self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.002,), daemon=True)
        self._thread.start()

    def script(self, *steps: Reply | Drop | Hang | None) -> None:
        self.steps.extend(steps)

    def close(self) -> None:
        self.closing.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def search(self, query: dict[str, str]) -> Reply:
        """Recent search, as https://docs.x.com/x-api/posts/search-recent-posts has it: the newest first."""
        size, wanted = int(query.get("max_results", "10")), query["query"]
        if not 10 <= size <= 100 or len(wanted) > 512:
            return Reply(400, {"title": "Invalid Request", "detail": "One or more parameters are invalid."})
        if 0 < int(query.get("since_id", "0")) < self.oldest:
            detail = "'since_id' must be a tweet id created after a week ago. Please use a 'since_id' that is larger."
            return Reply(400, {"errors": [{"message": detail}], "title": "Invalid Request", "detail": detail})
        terms = [one.strip('"').lower() for one in re.findall(r'"[^"]+"|#\w+', wanted)]
        assert wanted.endswith(" -is:retweet")
        since = max(int(query.get("since_id", "0")), self.oldest)
        found = [
            one for one in self.said if int(one["id"]) > since and any(term in one["text"].lower() for term in terms)
        ]
        found.sort(key=lambda one: -int(one["id"]))
        start = int(query.get("next_token", "t0")[1:])
        page = found[start : start + size]
        meta: dict[str, Any] = {"result_count": len(page)}
        if page:
            meta |= {"newest_id": page[0]["id"], "oldest_id": page[-1]["id"]}
        if len(found) > start + size:
            meta["next_token"] = f"t{start + size}"
        return Reply(200, {"meta": meta} | ({"data": page} if page else {}))

    def answer(self, method: str, path: str, body: dict[str, Any]) -> Reply:
        path, _mark, query = path.partition("?")
        if (method, path) == ("GET", "/2/tweets/search/recent"):
            return self.search(dict(parse_qsl(query)))
        if (method, path) == ("GET", "/2/users/me"):
            return Reply(200, {"data": {"id": "77", "name": "Status", "username": "example_status"}})
        if (method, path) == ("POST", "/2/media/upload"):
            number = str(5000 + len(self.media))
            self.media[number] = {**body, "alt": ""}
            return Reply(200, {"data": {"id": number, "media_key": f"3_{number}", "expires_after_secs": 86400}})
        if (method, path) == ("POST", "/2/media/metadata"):
            if body["id"] not in self.media:
                return Reply(400, {"title": "Invalid Request", "detail": "The media does not exist."})
            self.media[body["id"]]["alt"] = body["metadata"]["alt_text"]["text"]
            return Reply(200, {"data": {"id": body["id"], "associated_metadata": body["metadata"]}})
        if (method, path) != ("POST", "/2/tweets"):
            return Reply(404, {"title": "Not Found"})
        if not set(media := body.get("media", {}).get("media_ids", [])) <= set(self.media):
            return Reply(400, {"title": "Invalid Request", "detail": "Your media IDs are invalid."})
        text, parent = body["text"], body.get("reply", {}).get("in_reply_to_tweet_id")
        if weighted_length(text) > 280:
            return Reply(400, {"title": "Invalid Request", "detail": "The text is too long."})
        if any(post["text"] == text for post in self.posts):
            detail = "You are not allowed to create a Tweet with duplicate content."
            return Reply(403, {"title": "Forbidden", "status": 403, "detail": detail})
        if parent and parent not in {post["id"] for post in self.posts}:
            return Reply(400, {"title": "Invalid Request", "detail": "The parent does not exist."})
        self.posts.append({"id": str(1000 + len(self.posts)), "text": text, "parent": parent})
        if media:
            self.posts[-1]["media"] = media
        return Reply(201, {"data": {"id": self.posts[-1]["id"], "text": text}})


class _Handler(BaseHTTPRequestHandler):
    fake: FakeX
    protocol_version = "HTTP/1.1"
    wbufsize = -1

    def do_POST(self) -> None:
        body = self._body(self.rfile.read(int(self.headers.get("Content-Length") or 0)))
        self.fake.calls.append(f"{self.command} {self.path}")
        step = self.fake.steps.popleft() if self.fake.steps else None
        if step is None:
            step = self.fake.answer(self.command, self.path, body) if self._signed() else _UNAUTHORIZED
        if isinstance(step, Hang):
            self.fake.closing.wait(60)
        if isinstance(step, Hang | Drop):
            self.close_connection = True
            return
        data = step.body if isinstance(step.body, bytes) else json.dumps(step.body).encode()
        self.send_response(step.status)
        for name, value in {
            "Content-Length": str(len(data)),
            "Content-Type": "application/json",
            **step.headers,
        }.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(data)

    do_GET = do_POST

    def _body(self, raw: bytes) -> dict[str, Any]:
        """JSON, or the fields of a form with a file."""
        kind = self.headers.get("Content-Type", "")
        if not kind.startswith("multipart/form-data"):
            return json.loads(raw or b"{}")
        return form(kind, raw)

    def _signed(self) -> bool:
        """Whether the request carries our keys' OAuth 1.0a signature for X's own address. A form is not signed."""
        host = "api.x.com" if self.path.startswith("/2/media/") else "api.twitter.com"
        given = {k: unquote(v) for k, v in re.findall(r'(oauth_\w+)="([^"]*)"', self.headers.get("Authorization", ""))}
        found = given.pop("oauth_signature", "")
        path, _mark, query = self.path.partition("?")
        uri = signature.base_string_uri(f"https://{host}{path}")
        signed = signature.normalize_parameters([*given.items(), *parse_qsl(query)])
        base = signature.signature_base_string(self.command, uri, signed)
        known = (given.get("oauth_consumer_key"), given.get("oauth_token"))
        secret = f"{quote(KEYS['consumer_secret'])}&{quote(KEYS['access_token_secret'])}"
        wanted = base64.b64encode(hmac.digest(secret.encode(), base.encode(), "sha1")).decode()
        return hmac.compare_digest(found, wanted) and known == (KEYS["consumer_key"], KEYS["access_token"])

    def log_message(self, *args: Any) -> None:
        pass


_UNAUTHORIZED = Reply(401, {"title": "Unauthorized", "status": 401, "detail": "Unauthorized"})


class ToLoopback(HTTPAdapter):
    """Carries what is meant for X to the fake, with the timeout that `inner` would have used."""

    def __init__(self, port: int, inner: HTTPAdapter) -> None:
        super().__init__()
        self.port, self.inner = port, inner

    def send(self, request: requests.PreparedRequest, **kwargs: Any) -> requests.Response:  # type: ignore[override]
        request.url = re.sub(r"^https://[^/]+", f"http://127.0.0.1:{self.port}", request.url or "")
        return self.inner.send(request, **kwargs)

    def close(self) -> None:
        super().close()
        self.inner.close()
