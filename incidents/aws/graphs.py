"""Fetch the pictures of graphs from CloudWatch while an incident of their component is open."""

import time
from datetime import timedelta
from hashlib import sha256

from django.db import transaction
from django.db.models import Exists, OuterRef, Q, QuerySet
from django.utils import timezone
from django.utils.translation import gettext as _

from channels.pictures import BadPicture, prepare
from incidents.models import OVER, IncidentComponent, MetricGraph, MetricImage, Stage
from incidents.models.metric import KEPT

from .asking import AwsError, ask, note

EVERY = timedelta(seconds=60)
SLICE = 15  # seconds after which a sweep fetches no other


def refresh() -> None:
    """Fetch each that is due, once a minute; by one worker."""
    end = time.monotonic() + SLICE
    now = timezone.now()
    silent: set[int] = set()  # accounts that did not answer just now
    for graph in _due().select_related("account").order_by("tried_at", "pk"):
        if time.monotonic() > end:
            return
        mine = MetricGraph.objects.filter(pk=graph.pk, tried_at=graph.tried_at)
        if graph.account_id in silent or not mine.update(tried_at=now):
            continue
        fetch(graph)
        if graph.account.rests:
            silent.add(graph.account_id)


def _due() -> QuerySet[MetricGraph]:
    now = timezone.now()
    begun = IncidentComponent.objects.exclude(incident__stage__in=[*OVER, Stage.SCHEDULED])
    return MetricGraph.objects.filter(
        Q(tried_at=None) | Q(tried_at__lt=now - EVERY),
        Q(account__held_until=None) | Q(account__held_until__lte=now),
        Exists(begun.filter(component=OuterRef("component"))),
        enabled=True,
        account__enabled=True,
    )


def fetch(graph: MetricGraph) -> str:
    """Fetch one now; "" or, in words, why there is no new picture."""
    try:
        asked = {"MetricWidget": graph.request(), "OutputFormat": "png"}
        answer = ask(graph.account, "cloudwatch", "GetMetricWidgetImage", graph.region, **asked)
        prepared = prepare(answer.get("MetricWidgetImage", b""))
        if prepared.content_type != "image/png":
            raise BadPicture(_("It is too large: make “width” and “height” smaller."))
    except AwsError as error:
        note(graph.account, error)
        return _failed(graph, graph.account.mask(error.words()))
    except BadPicture as error:
        return _failed(graph, _("CloudWatch sent no picture that can be shown. %(why)s") % {"why": error})
    note(graph.account, None)
    now, key = timezone.now(), sha256(prepared.content).hexdigest()
    content = {"content": prepared.content, "width": prepared.width, "height": prepared.height, "taken_at": now}
    with transaction.atomic():
        MetricImage.objects.update_or_create(graph=graph, sha256=key, defaults=content)
        old = MetricImage.objects.filter(graph=graph).order_by("-taken_at", "-pk").values_list("pk", flat=True)[KEPT:]
        MetricImage.objects.filter(pk__in=list(old)).delete()
        MetricGraph.objects.filter(pk=graph.pk).update(error="", updated_at=now)
    return ""


def _failed(graph: MetricGraph, words: str) -> str:
    MetricGraph.objects.filter(pk=graph.pk).update(error=words[:600])
    return words
