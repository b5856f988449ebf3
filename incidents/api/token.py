"""What the token itself is, for whoever set it up."""

from datetime import datetime

from django.http import HttpRequest
from ninja import Router, Schema

from incidents.models import ApiToken

from .access import Bearer
from .incidents import Person

router = Router(tags=["token"])


class TokenOut(Schema):
    name: str
    prefix: str
    acts_as: Person
    scopes: list[str]
    expires_at: datetime


@router.get("/token", response=TokenOut, auth=Bearer(), operation_id="get_token")
def get_token(request: HttpRequest) -> TokenOut:
    """The token that was sent: whom it acts as, what it may be used for, until when. Needs no scope."""
    one: ApiToken = request.auth  # type: ignore[attr-defined]
    return TokenOut(
        name=one.name,
        prefix=one.prefix,
        acts_as=Person.of(one.owner),
        scopes=one.scopes,
        expires_at=one.expires_at,
    )
