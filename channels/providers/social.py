"""What the social networks share: a text too long for one post becomes a thread, and a server is named by its host."""

import re
from collections.abc import Callable, Collection
from datetime import datetime
from typing import Any, TypeVar

from django import forms
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from channels import posts
from channels.errors import DeliveryError, Permanent, Uncertain

from .base import Outcome

HOST = re.compile(r"([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z]([a-z0-9-]{0,61}[a-z0-9])(:\d{1,5})?")
MAX_FOUND = 4 * 1024 * 1024  # bytes of a page of what was found, with all that networks say of each author
Post = TypeVar("Post")  # what a network says of a post; str() of it is what a person looks it up by


class ServerField(forms.CharField):
    """A server by its host; cleaned to https:// and the host, without a path."""

    def clean(self, value: Any) -> str:
        given = super().clean(value)
        host = re.sub(r"^https://", "", given.strip().lower()).removesuffix("/")
        if not HOST.fullmatch(host):
            # What stands before an @ may be a password.
            said = gettext_lazy(
                "“%(value)s” is not a server's address: write https:// and its name, nothing behind it."
            )
            raise forms.ValidationError(said, "invalid", {"value": re.sub(r"//[^/]*@", "//", given)})
        return f"https://{host}"


def publish(
    text: str,
    post: Callable[[str, list[Post]], Post],
    limit: int,
    weigh: posts.Weigh = posts.weighted_length,
    of_this_text: Collection[str] = (),
) -> Outcome:
    """Post `text`, as a thread where it weighs more than `limit`.

    `post(part, before)` posts one part as a reply to the last of `before` and raises DeliveryError. What goes wrong in
    the first is raised, unless its code is one `of_this_text`, or it is Uncertain: then another text may go out.
    """
    texts = posts.split(text, limit, weigh)
    if not texts:
        return Outcome(error=Permanent("empty", _("There is nothing to post.")))
    if any(weigh(one) > limit for one in texts):
        said = _("A word or link of it is longer than a post may be (%(limit)d characters): shorten it.")
        return Outcome(error=Permanent("too-long", said % {"limit": limit}))
    public: list[Post] = []
    for one in texts:
        try:
            public.append(post(one, public))
        except DeliveryError as error:
            if public:
                # Part of it is public; starting again repeats that wherever the network does not know its posts.
                said = _("%(sent)d of %(wanted)d posts are public, the last one is %(last)s. Then: %(error)s")
                values = {"sent": len(public), "wanted": len(texts), "last": public[-1], "error": error}
                return Outcome(ref=str(public[0]), error=Uncertain("thread-incomplete", said % values))
            if isinstance(error, Uncertain) or error.code in of_this_text:
                return Outcome(error=error)
            raise
    return Outcome(ref=str(public[0]))


def moment(value: Any) -> datetime:
    """When something was said, as the network writes it; now if that is no time of the past."""
    try:
        at = datetime.fromisoformat(value)
    except (TypeError, ValueError):
        return timezone.now()
    return min(at, timezone.now()) if at.tzinfo else timezone.now()
