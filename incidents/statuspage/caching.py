from typing import TypeVar

from django.http import HttpResponse

R = TypeVar("R", bound=HttpResponse)


def cached(response: R) -> R:
    """Let shared caches absorb a rush for five seconds, while a browser always asks whether there is news."""
    response["Cache-Control"] = "public, max-age=0, s-maxage=5, must-revalidate"
    return response
