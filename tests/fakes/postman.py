"""A fake provider, "postman", that reaches everybody but those for whom a test has planned an error."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from channels.errors import DeliveryError
from channels.providers import get as get_provider
from channels.providers.base import Outcome
from tests.fakes.scripted import Scripted


class Postman(Scripted):
    """Fails by the address, as the dictionary of `postman()` says."""


@contextmanager
def postman() -> Iterator[dict[str, DeliveryError]]:
    """While it lasts there is this provider. What befalls whom: {address: error}; everybody else is reached."""
    errors: dict[str, DeliveryError] = {}
    original = get_provider.__wrapped__
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("channels.providers.get", lambda key: Postman if key == "postman" else original(key))
        script = staticmethod(lambda _n, people: [Outcome(error=errors.get(p.address), ref="ok") for p in people])
        patch.setattr(Postman, "script", script, raising=False)
        patch.setattr(Postman, "ledger", [])
        patch.setattr(Postman, "calls", 0)
        yield errors
