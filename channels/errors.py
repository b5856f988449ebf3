"""What can go wrong on the way out, in the four words the engine understands.

A provider translates its own failures into these; `delivery` decides what follows.
"""


class DeliveryError(Exception):
    """Base of all. `code` is the provider's own word (an SMTP reply, an AWS error code), `detail` its text."""

    def __init__(self, code: str, detail: str = "") -> None:
        # What a server says may hold anything; a NUL is what PostgreSQL refuses, and with it a whole wave's outcomes.
        code, detail = code.replace("\0", ""), detail.replace("\0", "")
        super().__init__(f"{code}: {detail}" if detail else code)
        self.code = code[:80]
        self.detail = detail[:500]


class Transient(DeliveryError):
    """Surely not sent; worth trying again later."""


class Throttled(DeliveryError):
    """The provider asks for patience: nothing was sent, and the whole channel waits `retry_after` seconds."""

    def __init__(self, code: str, detail: str = "", retry_after: float = 30.0) -> None:
        super().__init__(code, detail)
        self.retry_after = retry_after


class Permanent(DeliveryError):
    """Will never work. `bad_address` says that the address itself is at fault and is to be suppressed."""

    def __init__(self, code: str, detail: str = "", bad_address: bool = False) -> None:
        super().__init__(code, detail)
        self.bad_address = bad_address


class Uncertain(DeliveryError):
    """Perhaps sent: a timeout, a dropped reply. Never repeated unless the provider is idempotent."""
