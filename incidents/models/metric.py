"""What CloudWatch shows of a component: graphs, which the portal fetches and shows itself, and links to dashboards."""

import json
from typing import Any
from urllib.parse import urlsplit

from django.contrib.auth.models import AnonymousUser, User
from django.core.exceptions import ValidationError
from django.core.validators import URLValidator
from django.db import models
from django.utils import timezone
from django.utils.translation import gettext as _t
from django.utils.translation import gettext_lazy as _

from .aws import AwsAccount, region_field
from .component import Component

KEPT = 5  # pictures of each graph: a page that was read a minute ago still finds its own
MOST_METRICS, LONGEST, SIDE = (
    100,
    20_000,
    2000,
)  # of a widget: metrics, characters, pixels; the first and last are AWS's
SIZE = {"width": 600, "height": 300}  # pixels, where the widget says none
DASHBOARDS = (".amazonaws.com", ".amazonaws.cn", ".aws.amazon.com", ".amazonaws-us-gov.com")


def widget_of(text: str) -> dict[str, Any]:
    """The widget in what was pasted from CloudWatch. Raises ValidationError that says what is wrong and what to do."""
    if len(text) > LONGEST:
        raise ValidationError(_t("It has %(n)d characters; at most %(most)d.") % {"n": len(text), "most": LONGEST})
    try:
        found = json.loads(text, parse_constant=_no_number)
    except RecursionError:
        raise ValidationError(_t("It is nested too deeply.")) from None
    except ValueError as error:
        raise ValidationError(_t("It is no JSON (%(error)s): copy all of “Source” again.") % {"error": error}) from None
    if isinstance(found, dict) and isinstance(found.get("properties"), dict):
        found = found["properties"]  # as a dashboard has it
    if not isinstance(found, dict):
        raise ValidationError(_t("It is no object: it begins with { and ends with }."))
    if "widgets" in found:
        raise ValidationError(_t("It is a whole dashboard: copy what stands in “properties” of one widget."))
    metrics = found.get("metrics")
    if not isinstance(metrics, list) or not 1 <= len(metrics) <= MOST_METRICS:
        raise ValidationError(_t("“metrics” is missing: a list of 1 to %(most)d metrics.") % {"most": MOST_METRICS})
    for one in metrics:
        if not isinstance(one, list) or not one:
            wrong = _t(
                '“%(value)s” is no metric; write it as ["AWS/ApplicationELB", "RequestCount", "LoadBalancer", "…"].'
            )
            raise ValidationError(wrong % {"value": json.dumps(one, ensure_ascii=False)[:80]})
    for side in SIZE:
        size = found.get(side, SIZE[side])
        if not isinstance(size, int) or isinstance(size, bool) or not 50 <= size <= SIDE:
            wrong = _t("“%(side)s” is %(value)s: write a number of pixels from 50 to %(most)d.")
            raise ValidationError(wrong % {"side": side, "value": str(size)[:40], "most": SIDE})
    if "\\u0000" in text or "\0" in text:
        raise ValidationError(_t("It has a character that is none (\\u0000): take it out."))
    return found


def _no_number(name: str) -> None:
    raise ValueError(name)


# ── Graphs ──────────────────────────────────────────────────────────────────


class OfComponentQuerySet(models.QuerySet[Any]):
    def for_user(self, user: User | AnonymousUser) -> "OfComponentQuerySet":
        """Those of components that this person may see."""
        return self.filter(component__in=Component.objects.for_user(user).order_by().values("pk"))


class MetricGraph(models.Model):
    """A graph of CloudWatch that belongs to a component. A worker fetches its picture while an incident is open."""

    title = models.CharField(
        _("title"), max_length=120, help_text=_("Customers read it too, if the graph is shown to them.")
    )
    component = models.ForeignKey(
        Component, on_delete=models.CASCADE, related_name="graphs", verbose_name=_("component")
    )
    account = models.ForeignKey(
        AwsAccount, on_delete=models.CASCADE, related_name="graphs", verbose_name=_("AWS account")
    )
    region = region_field(blank=True, help_text=_("Empty: that of the account."))
    widget = models.JSONField(_("widget"))
    enabled = models.BooleanField(_("on"), default=True)
    public = models.BooleanField(
        _("show to customers"),
        default=False,
        help_text=_("On the status page, with the open incidents of this component. They see what the graph shows."),
    )
    position = models.PositiveSmallIntegerField(_("position"), default=0)
    tried_at = models.DateTimeField(null=True, blank=True, editable=False)
    error = models.CharField(_("last error"), max_length=600, blank=True, editable=False)
    updated_at = models.DateTimeField(auto_now=True)  # also by a new picture: the status page looks here

    objects = OfComponentQuerySet.as_manager()

    class Meta:
        verbose_name = _("graph")
        verbose_name_plural = _("graphs")
        ordering = ["component__name", "position", "pk"]

    def __str__(self) -> str:
        return self.title

    def request(self) -> str:
        """What CloudWatch is asked for."""
        return json.dumps({**SIZE, **self.widget, "region": self.region or self.account.region})


class MetricImage(models.Model):
    """A picture of a graph, as it was at one time. The last few are kept."""

    graph = models.ForeignKey(MetricGraph, on_delete=models.CASCADE, related_name="images")
    sha256 = models.CharField(max_length=64, db_index=True)
    content = models.BinaryField()  # PNG, drawn anew by us
    width = models.PositiveIntegerField()
    height = models.PositiveIntegerField()
    taken_at = models.DateTimeField(default=timezone.now)

    class Meta:
        ordering = ["-taken_at", "-pk"]
        constraints = [models.UniqueConstraint(fields=["graph", "sha256"], name="metric_image_once")]

    def __str__(self) -> str:
        return self.filename

    @property
    def filename(self) -> str:
        return f"{self.sha256}.png"


# ── Dashboards ──────────────────────────────────────────────────────────────


class DashboardLink(models.Model):
    """A link to a shared dashboard. No API of AWS shares one: a person does, and takes the consequences."""

    title = models.CharField(_("title"), max_length=120)
    url = models.CharField(_("link"), max_length=1000)
    component = models.ForeignKey(
        Component, on_delete=models.CASCADE, related_name="dashboards", verbose_name=_("component")
    )
    public = models.BooleanField(
        _("show to customers"),
        default=False,
        help_text=_("As a link on the status page, with the open incidents of this component."),
    )
    updated_at = models.DateTimeField(auto_now=True)

    objects = OfComponentQuerySet.as_manager()

    class Meta:
        verbose_name = _("shared dashboard")
        verbose_name_plural = _("shared dashboards")
        ordering = ["component__name", "title"]

    def __str__(self) -> str:
        return self.title

    def clean(self) -> None:
        if not self._is_of_aws():
            wrong = _t(
                "“%(value)s” is no dashboard of CloudWatch; copy the link that it shows when it is shared, "
                "https://cloudwatch.amazonaws.com/dashboard.html?…"
            )
            raise ValidationError({"url": wrong % {"value": self.url[:120]}})

    def _is_of_aws(self) -> bool:
        try:
            URLValidator(schemes=["https"])(self.url)
            parts = urlsplit(self.url)
        except (ValidationError, ValueError):
            return False
        return f".{parts.hostname or ''}".endswith(DASHBOARDS) and not parts.username
