"""One process of the delivery engine: does what a task of the queue does, when it is told to."""

import gc
import resource
import time
from pathlib import Path
from typing import Any

import django

from .answering import answer_lines

django.setup()

from django.db import connection  # noqa: E402 - Django first

from channels import delivery, worker  # noqa: E402
from channels.models import Dispatch, Recipient  # noqa: E402

from . import null  # noqa: E402


def expand(dispatch: int, last_id: int) -> dict[str, Any]:
    """Cut all recipients up to `last_id` into batches."""
    one = Dispatch.objects.select_related("channel").get(pk=dispatch)
    started = time.monotonic()
    people = delivery.expand(one, delivery.audience(Recipient.objects.filter(pk__lte=last_id), one.channel))
    return {"people": people, "seconds": time.monotonic() - started}


def send(channel: int) -> dict[str, Any]:
    """Until nothing is due. What another process holds is its own."""
    null.Null.handed_over = null.Null.checksum = 0
    started = time.monotonic()
    while delivery.run_channel(channel, 15) or delivery.due(channel).exists():
        time.sleep(0.001)  # another one tries first whether the channel answers
    seconds = time.monotonic() - started
    return {
        "seconds": seconds,
        "handed_over": null.Null.handed_over,
        "checksum": null.Null.checksum,
        "peak_rss": peak_rss(),
    }


def peak_rss() -> int:
    """The most memory this process ever had, in bytes. (ru_maxrss would count its parent's, from before exec.)"""
    status = Path("/proc/self/status")
    if status.exists():
        return int(status.read_text().split("VmHWM:")[1].split()[0]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


if __name__ == "__main__":
    null.register()
    connection.ensure_connection()
    # As channels.worker does.
    worker.stand_back()
    gc.collect()
    gc.freeze()
    answer_lines({"expand": expand, "send": send})
