"""A program that asks the API as somebody, as it would from outside: a token in the header and no cookie."""

import json
from typing import Any

from django.contrib.auth.models import Permission, User
from django.test import Client

from incidents.models import ApiToken, Scope

API = "/api/v1"


def allow_tokens(who: User) -> User:
    """Whatever the role: somebody who may hold tokens. Read anew, as permissions are remembered."""
    who.user_permissions.add(Permission.objects.get(codename="own_apitoken"))
    return User.objects.get(pk=who.pk)


class Program:
    """`scopes`: all, unless some are named. `secret` is the whole token."""

    def __init__(self, who: User, *scopes: str) -> None:
        who = allow_tokens(who)
        self.who = who
        self.token, self.secret = ApiToken.make(who, who, "a program", scopes or Scope.values, 30)
        self.client = Client()

    def ask(self, method: str, path: str, body: Any = None, **headers: str) -> Any:
        """`path` below /api/v1, or the whole of it. A header's name is written with _ for -."""
        address = path if path.startswith(API) else API + path
        content = b"" if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
        given = {"Authorization": f"Bearer {self.secret}"} | {n.replace("_", "-"): v for n, v in headers.items()}
        return self.client.generic(method, address, content, content_type="application/json", headers=given)

    def get(self, path: str, **headers: str) -> Any:
        return self.ask("GET", path, **headers)

    def post(self, path: str, body: Any = None, **headers: str) -> Any:
        return self.ask("POST", path, {} if body is None else body, **headers)

    def patch(self, path: str, body: Any, **headers: str) -> Any:
        return self.ask("PATCH", path, body, **headers)

    def put(self, path: str, body: Any, **headers: str) -> Any:
        return self.ask("PUT", path, body, **headers)


def problem(response: Any, status: int, code: str) -> dict[str, Any]:
    """The problem that an answer is, which must be this one."""
    assert (response.status_code, response["Content-Type"]) == (status, "application/problem+json"), response.content
    said = response.json()
    assert (said["status"], said["code"]) == (status, code), said
    assert said["detail"]
    return said


def fields(said: dict[str, Any]) -> list[str]:
    assert all(one["fix"] and one["message"] for one in said["errors"])
    return [one["field"] for one in said["errors"]]
