"""Whose page it is: everybody's, or a private one of some readers. What they may see, and where it stands."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from django.conf import settings
from django.db.models import Exists, OuterRef, Q, QuerySet

from incidents.models import Component, Incident, IncidentComponent, IncidentUpdate
from incidents.models.incident import IncidentQuerySet


@dataclass(frozen=True)
class Scope:
    """`components` are the keys of a private page's components; None for the public page."""

    components: frozenset[int] | None = None
    page: str = ""  # the private page's uid
    name: str = ""  # "": the portal's
    base: str = ""  # what stands before every path of it, without a slash at the end
    by_link: bool = False  # whoever has its link reads it
    # Who was let in, for StatusPage.still_lets_in: {"link": [version, until]} or {"user": key}.
    let_in: Mapping[str, Any] = field(default_factory=dict)

    @property
    def private(self) -> bool:
        return self.components is not None

    @property
    def title(self) -> str:
        return self.name or settings.PORTAL_NAME

    @property
    def url(self) -> str:
        """Absolute, without a slash at the end."""
        return f"{settings.PORTAL_URL}{self.base}"

    def shown(self) -> QuerySet[Component]:
        """The components of the page."""
        if self.components is None:
            return Component.objects.public()
        return Component.objects.filter(pk__in=self.components)

    def shows(self, component: Component) -> bool:
        if self.components is None:
            return component.is_public
        return component.pk in self.components

    def incidents(self) -> IncidentQuerySet:
        """Those of which an update was published to these readers, newest first.

        Of private components everybody hears nothing, unless a public one is hit as well. What names no component
        is everybody's; what was imported was public where it came from.
        """
        told = Incident.objects.public().filter(
            Exists(IncidentUpdate.objects.filter(incident=OuterRef("pk"), status=IncidentUpdate.Status.PUBLISHED))
        )
        hit = IncidentComponent.objects.filter(incident=OuterRef("pk"))
        if self.components is not None:
            return told.filter(Exists(hit.filter(component__in=self.components)))
        return told.filter(
            ~Exists(hit.filter(component__private=True))
            | Exists(hit.filter(component__private=False))
            | Q(imported_from__isnull=False)
        )


EVERYBODY = Scope()
