"""Graphs and dashboards that customers may see beside an open incident. Files of ours: no page calls out for them."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import timedelta

from django.utils import timezone

from incidents.models import DashboardLink, MetricImage

from .facts import PublicIncident

FRESH = timedelta(hours=1)  # an older picture says nothing of now


@dataclass
class Beside:
    """What stands beside one incident: the last picture of each graph, and links."""

    graphs: list[MetricImage] = field(default_factory=list)
    links: list[DashboardLink] = field(default_factory=list)


def beside(incidents: Iterable[PublicIncident]) -> dict[int, Beside]:
    """By key of the incident, for those that are open. Two queries; none where nothing is open.

    Of components that these readers see; and nothing from before the incident was declared.
    """
    running = {one.incident.pk: one for one in incidents if not one.is_over}
    shown = {component.pk for one in running.values() for component in one.components}
    if not shown:
        return {}
    graphs = _latest(shown)
    links = list(DashboardLink.objects.filter(public=True, component__in=shown).order_by("title", "pk"))
    found = {}
    for key, one in running.items():
        mine = {component.pk for component in one.components}
        found[key] = Beside(
            [
                image
                for image in graphs
                if image.graph.component_id in mine and image.taken_at >= one.incident.declared_at
            ],
            [link for link in links if link.component_id in mine],
        )
    return found


def _latest(components: Iterable[int]) -> list[MetricImage]:
    """The last picture of each graph, without its bytes."""
    fresh = MetricImage.objects.filter(
        graph__public=True,
        graph__enabled=True,
        graph__component__in=components,
        taken_at__gte=timezone.now() - FRESH,
    )
    order = ("graph__position", "graph_id", "-taken_at", "-pk")
    last: dict[int, MetricImage] = {}
    for image in fresh.select_related("graph").defer("content", "graph__widget").order_by(*order):
        last.setdefault(image.graph_id, image)
    return list(last.values())


def content(name: str) -> bytes | None:
    """The picture of this file name, if everybody who has a link to it may see it."""
    sha256 = name.partition(".")[0]
    shown = MetricImage.objects.filter(sha256=sha256, graph__public=True, graph__enabled=True)
    image = shown.first()
    return bytes(image.content) if image and image.filename == name else None
