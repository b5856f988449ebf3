"""How many people the updates of a large incident reached."""

from django.db import models

from incidents.models import Incident


class PeopleTold(models.Model):
    """Different people whom the updates of an incident reached, counted by a worker: it takes seconds.

    `total`, `reached_total` and `last_at` are those of the deliveries as they stood then: see feedback.people.
    """

    incident = models.OneToOneField(Incident, primary_key=True, on_delete=models.CASCADE, related_name="+")
    people = models.PositiveIntegerField()
    reached = models.PositiveIntegerField()
    total = models.PositiveBigIntegerField()
    reached_total = models.PositiveBigIntegerField()
    last_at = models.DateTimeField(null=True)
    counted_at = models.DateTimeField()

    def __str__(self) -> str:
        return f"{self.incident_id}: {self.reached} of {self.people}"
