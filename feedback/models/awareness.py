"""How soon people knew of an incident."""

from django.db import models

from incidents.models import Incident


class Awareness(models.Model):
    """Seconds from the start of an incident until a first message had arrived, of each person of whom that is known.

    Counted by a worker (feedback.awareness), for it reads every receipt. `buckets` maps the number of a step, as text,
    to people: steps grow by 2 % (feedback.awareness.STEP), so that several incidents can be added up.
    """

    incident = models.OneToOneField(Incident, primary_key=True, on_delete=models.CASCADE, related_name="awareness")
    people = models.PositiveIntegerField()
    median = models.FloatField()
    p95 = models.FloatField()
    buckets = models.JSONField()
    receipts = models.PositiveBigIntegerField()  # that there were when it was counted
    counted_at = models.DateTimeField()

    def __str__(self) -> str:
        return f"{self.incident_id}: {self.median:.0f} s, {self.people}"
