"""Ask the networks what is new. Each source is asked by one worker at a time, and goes on where it stopped."""

import logging
import time
from datetime import timedelta

from django.conf import settings
from django.utils import timezone

from channels.errors import DeliveryError, Permanent, Throttled
from channels.providers.base import Hearing

from .models import SocialSource, WatchTerm
from .taking_in import take_in

log = logging.getLogger(__name__)
SLICE = 15  # seconds after which a turn asks for no further page: what is left waits for the next one
LEASE = timedelta(minutes=5)  # after which another worker takes over from one that died
FIRST_PAUSE, LONGEST_PAUSE = timedelta(minutes=1), timedelta(hours=1)


def watch_due() -> None:
    """Ask every source whose time has come."""
    due = SocialSource.objects.filter(enabled=True, channel__isnull=False, next_at__lte=timezone.now())
    end = time.monotonic() + SLICE
    for pk in due.order_by("next_at").values_list("pk", flat=True):
        if time.monotonic() >= end:
            return
        try:
            watch(pk, end)
        except Exception:  # its channel's provider is gone, say: the others must not wait for it
            log.exception("social source %s cannot be asked", pk)


def watch(source_id: int, end: float = 0.0) -> None:
    """Ask one source, unless another worker does or it is to be left alone."""
    now = timezone.now()
    mine = SocialSource.objects.filter(pk=source_id)
    if not mine.filter(enabled=True, channel__isnull=False, next_at__lte=now).update(next_at=now + LEASE):
        return
    source = mine.select_related("channel").get()
    assert source.channel
    wanted = list(WatchTerm.objects.order_by("term").values_list("term", flat=True).distinct())
    provider = source.channel.get_provider()
    if not wanted or not isinstance(provider, Hearing):
        mine.update(next_at=now + timedelta(seconds=settings.SOCIAL_SECONDS))
        return
    try:
        more = _read(source, provider, wanted, end or time.monotonic() + SLICE)
    except DeliveryError as error:
        _failed(source, error)
        return
    finally:
        provider.close()
    pause = timedelta(seconds=5 if more else settings.SOCIAL_SECONDS)
    mine.update(next_at=timezone.now() + pause, heard_at=timezone.now(), failures=0, trouble="")


def _read(source: SocialSource, provider: Hearing, wanted: list[str], end: float) -> bool:
    """Page by page, each kept together with where to go on. Whether there is more. Raises DeliveryError."""
    while True:
        page = provider.hear(wanted, source.cursor)
        source.cursor = page.cursor
        take_in(source, page.heard, cursor=page.cursor, next_at=timezone.now() + LEASE)
        if not page.more or time.monotonic() >= end:
            return page.more


def _failed(source: SocialSource, error: DeliveryError) -> None:
    """Leave it alone for a while: as long as it says, else longer each time."""
    if isinstance(error, Throttled):
        pause = timedelta(seconds=error.retry_after or 60)
        trouble, failures = "", source.failures
    else:
        pause = min(FIRST_PAUSE * 2 ** min(source.failures, 10), LONGEST_PAUSE)
        assert source.channel
        trouble, failures = source.channel.mask(str(error))[:600], source.failures + 1
    changes = {"next_at": timezone.now() + pause, "trouble": trouble, "failures": failures}
    if isinstance(error, Permanent) and source.cursor.get("next"):
        # The middle of its pages may be what it takes no more: begin again behind what was read to the end.
        kept = {key: value for key, value in source.cursor.items() if key not in ("next", "top")}
        changes["cursor"] = kept
    SocialSource.objects.filter(pk=source.pk).update(**changes)
    log.warning("social source %s: %s", source.pk, trouble or error)
