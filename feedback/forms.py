"""Which incidents a report is about."""

from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from typing import Any

from django import forms
from django.db.models import Exists, Max, Min, OuterRef, QuerySet, Value
from django.db.models.functions import Concat
from django.http import QueryDict
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from channels.models import Channel, Dispatch
from incidents.models import CommunicationPlan, Component, Incident, Severity

from .reports import dispatches

ALL, CUSTOM = "all", "custom"
PERIODS = {"30": _("30 days"), "90": _("90 days"), "365": _("365 days"), ALL: _("All"), CUSTOM: _("Dates")}
DEFAULT_PERIOD = "90"
LONGEST_DAYS = 366 * 50


@dataclass(frozen=True)
class Period:
    """Whole days, `first` and `last` included, in the portal's time zone."""

    first: date
    last: date

    @property
    def days(self) -> int:
        return (self.last - self.first).days + 1

    def before(self) -> "Period":
        """The period of the same length that ends the day before."""
        return Period(self.first - timedelta(days=self.days), self.first - timedelta(days=1))

    def of(self, incidents: QuerySet[Any]) -> QuerySet[Any]:
        """Those that started in it."""
        start, end = (
            timezone.make_aware(datetime.combine(day, time())) for day in (self.first, self.last + timedelta(days=1))
        )
        return incidents.filter(started_at__gte=start, started_at__lt=end)


def _sensible(first: Any, last: Any) -> bool:
    """Whether two dates, neither of them None, are some that anybody means."""
    return 1970 <= first.year <= 9000 and (last - first).days <= LONGEST_DAYS


class ReportForm(forms.Form):
    """Period, severity, component, plan and channel. Offers only what the person's own incidents have."""

    period = forms.ChoiceField(label=_("Period"), choices=list(PERIODS.items()))
    first = forms.DateField(label=_("From"), required=False, widget=forms.DateInput({"type": "date"}, "%Y-%m-%d"))
    last = forms.DateField(label=_("To"), required=False, widget=forms.DateInput({"type": "date"}, "%Y-%m-%d"))
    severity = forms.ChoiceField(
        label=_("Severity"), choices=[("", _("All severities")), *Severity.choices], required=False
    )
    component = forms.ModelChoiceField(
        Component.objects.none(), label=_("Component"), required=False, empty_label=_("All components")
    )
    plan = forms.ModelChoiceField(
        CommunicationPlan.objects.none(), label=_("Plan"), required=False, empty_label=_("All plans")
    )
    channel = forms.ModelChoiceField(
        Channel.objects.none(), label=_("Channel"), required=False, empty_label=_("All channels")
    )

    def __init__(self, data: QueryDict, user: Any, incidents: QuerySet[Any]) -> None:
        chosen = data.dict()
        # Whoever typed a date means it, whatever the list of periods still shows.
        if chosen.get("first") or chosen.get("last"):
            chosen["period"] = CUSTOM
        chosen["period"] = chosen.get("period") or DEFAULT_PERIOD
        super().__init__(chosen, label_suffix="")
        self.incidents = incidents
        self.fields["component"].queryset = Component.objects.for_user(user)  # type: ignore[attr-defined]
        used = incidents.order_by().values("plan")
        self.fields["plan"].queryset = CommunicationPlan.objects.filter(pk__in=used)  # type: ignore[attr-defined]
        sent_by = dispatches(incidents).values("channel")
        self.fields["channel"].queryset = Channel.objects.filter(pk__in=sent_by).order_by("name")  # type: ignore[attr-defined]
        for name, one in self.fields.items():
            one.widget.attrs["class"] = "cp-select" if isinstance(one.widget, forms.Select) else "cp-input"
            if name in ("first", "last"):
                one.widget.attrs["max"] = "9999-12-31"

    def clean(self) -> dict[str, Any]:
        data = super().clean() or {}
        first, last = data.get("first"), data.get("last")
        if data.get("period") == CUSTOM and not self.errors:
            end = last or timezone.localdate()
            if not first and not last:
                self.add_error("first", _("Choose the first day, or a period above."))
            elif first and end < first:
                self.add_error("last", _("The last day is before the first: %(first)s.") % {"first": first})
            elif not _sensible(first or end, end):
                self.add_error("first", _("Choose a year from 1970 on and at most 50 years."))
        return data

    def selected(self) -> tuple[Period, QuerySet[Any]]:
        """The period, and the incidents that the other filters leave, of any time. Without errors only."""
        data = self.cleaned_data
        chosen = self.incidents.filter(maintenance=False)
        for name in ("severity", "component", "plan"):
            if data[name]:
                chosen = chosen.filter(**{"components" if name == "component" else name: data[name]})
        if data["channel"]:
            mine = Dispatch.objects.filter(channel=data["channel"], purpose=Dispatch.Purpose.UPDATE)
            chosen = chosen.filter(Exists(mine.filter(thread=Concat(Value("incident-"), OuterRef("uid")))))
        return self._period(chosen), chosen

    def _period(self, chosen: QuerySet[Incident]) -> Period:
        data, today = self.cleaned_data, timezone.localdate()
        if data["period"] == CUSTOM:
            last = data["last"] or today
            return Period(data["first"] or last - timedelta(days=int(DEFAULT_PERIOD) - 1), last)
        if data["period"] == ALL:
            ends = chosen.order_by().aggregate(first=Min("started_at"), last=Max("started_at"))
            if ends["first"] is None:
                return Period(today, today)
            return Period(timezone.localdate(ends["first"]), max(today, timezone.localdate(ends["last"])))
        return Period(today - timedelta(days=int(data["period"]) - 1), today)
