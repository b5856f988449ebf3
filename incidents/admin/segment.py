"""Audience segments in the admin: conditions as rows, and how many people they mean while they are typed."""

import json
from hashlib import sha256
from typing import Any

from django import forms
from django.contrib import admin
from django.core.cache import cache
from django.core.exceptions import PermissionDenied, ValidationError
from django.db import connection
from django.db.models import Count, Q
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.urls import URLPattern, path
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_POST
from unfold.widgets import UnfoldAdminSelectWidget, UnfoldAdminTextareaWidget, UnfoldAdminTextInputWidget

from channels.models import Medium, Recipient, Suppression
from commsportal.time_limit import TookTooLong, time_limit
from incidents.models import AudienceSegment, CommunicationPlan, Incident, IncidentUpdate, PlanVersion
from incidents.models.segment import MOST_CONDITIONS, NAME, VALUE, Is, checked, in_words, matching

from . import preview
from .history import HistoryAdmin

PEOPLE = Recipient.objects.exclude(medium=Medium.BROADCAST)  # one stands for everybody
KNOWN = 200  # attributes that are offered
SAMPLE = 5000  # recipients whose attributes are looked at for it
VALUES = 20  # values of an attribute that are offered
PATIENCE = 2.0  # seconds for a number or a list that only helps
KEPT = 10  # seconds that a count is good for: keys come faster, and so does the page after saving
TOO_MANY = gettext_lazy("Too many to count quickly. How many people an update reaches is counted when it is written.")
FIELDS = [(f"attribute_{n}", f"is_{n}", f"values_{n}") for n in range(MOST_CONDITIONS)]


class SegmentForm(forms.ModelForm):
    class Meta:
        model = AudienceSegment
        fields = ["name", "description"]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        for (attribute, how, values), one in zip(FIELDS, self._rows(), strict=True):
            self.fields[attribute].initial = one.get("attribute", "")
            self.fields[how].initial = one.get("is", Is.ONE_OF)
            self.fields[values].initial = "\n".join(one.get("values", ()))

    def _rows(self) -> list[dict[str, Any]]:
        rows = list(self.instance.conditions or [])
        return [*rows, *({} for _row in range(MOST_CONDITIONS - len(rows)))]

    def clean(self) -> dict[str, Any]:
        data = super().clean() or {}
        try:
            self.instance.conditions = checked(conditions_of(self.data))
        except ValidationError as error:
            self.add_error("attribute_0", error)
        return data


for _n, (_attribute, _how, _values) in enumerate(FIELDS, 1):
    SegmentForm.base_fields[_attribute] = SegmentForm.declared_fields[_attribute] = forms.CharField(
        label=gettext_lazy("Attribute"),
        required=False,
        max_length=NAME,
        widget=UnfoldAdminTextInputWidget(attrs={"list": "known-attributes", "autocomplete": "off"}),
    )
    SegmentForm.base_fields[_how] = SegmentForm.declared_fields[_how] = forms.ChoiceField(
        label=gettext_lazy("Comparison"), required=False, choices=Is.choices, widget=UnfoldAdminSelectWidget
    )
    SegmentForm.base_fields[_values] = SegmentForm.declared_fields[_values] = forms.CharField(
        label=gettext_lazy("Values"),
        required=False,
        max_length=11_000,
        widget=UnfoldAdminTextareaWidget(attrs={"rows": 2}),
        help_text=gettext_lazy("One on each line.") if _n == 1 else "",
    )


def conditions_of(data: Any) -> list[dict[str, Any]]:
    """What was typed, as conditions that checked() looks at; rows without attribute and values are left out."""
    found = []
    for attribute, how, values in FIELDS:
        name, text = data.get(attribute, "").strip(), data.get(values, "")
        if name or text.strip():
            found.append({"attribute": name, "is": data.get(how) or Is.ONE_OF, "values": text.splitlines()})
    return found


@admin.register(AudienceSegment)
class SegmentAdmin(HistoryAdmin):
    form = SegmentForm
    list_display = ["name", "rule_in_words", "people_now"]
    search_fields = ["name", "description"]
    fieldsets = [
        (None, {"fields": ["name", "description"]}),
        (gettext_lazy("All of these hold"), {"fields": FIELDS}),
    ]
    change_form_after_template = "admin/incidents/audiencesegment/count.html"

    @admin.display(description=gettext_lazy("who"))
    def rule_in_words(self, segment: AudienceSegment) -> str:
        return in_words(segment.conditions)

    @admin.display(description=gettext_lazy("recipients now"))
    def people_now(self, segment: AudienceSegment) -> str:
        n = segment.n  # type: ignore[attr-defined]
        return _("too many to count quickly") if n is None else preview.localise(n)

    def get_changelist_instance(self, request: HttpRequest) -> Any:
        """With how many recipients each of its segments means, in one query."""
        found = super().get_changelist_instance(request)
        rows = list(found.result_list)
        wanted = {f"n{one.pk}": Count("pk", filter=matching(one.conditions)) for one in rows}
        try:
            with time_limit(PATIENCE):
                counted = PEOPLE.aggregate(**wanted) if rows else {}
        except TookTooLong:
            counted = {}
        for one in rows:
            one.n = counted.get(f"n{one.pk}")
        found.result_list = rows
        return found

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        # Whoever chose it would write to everybody without it.
        return super().has_delete_permission(request, obj) and not (obj and used_by(obj, request.user))

    def get_actions(self, request: HttpRequest) -> Any:
        return {name: one for name, one in super().get_actions(request).items() if name != "delete_selected"}

    def get_urls(self) -> list[URLPattern]:
        own = [
            path(
                "count/",
                self.admin_site.admin_view(require_POST(self.count_view)),
                name="incidents_audiencesegment_count",
            ),
            path(
                "values/",
                self.admin_site.admin_view(never_cache(require_POST(self.values_view))),
                name="incidents_audiencesegment_values",
            ),
        ]
        return [*own, *super().get_urls()]

    def count_view(self, request: HttpRequest) -> HttpResponse:
        """How many people the conditions as typed mean: {"text"}, with "error" if they mean none yet."""
        # Who only looks shall not find out, value by value, what is known of people.
        if not self._may_write(request):
            raise PermissionDenied
        try:
            return JsonResponse({"text": count_in_words(checked(conditions_of(request.POST)))})
        except ValidationError as error:
            return JsonResponse({"text": "", "error": " ".join(error.messages)})

    def values_view(self, request: HttpRequest) -> HttpResponse:
        """The most frequent values of an attribute: {"values": […]}. They are people's, so who sees these sees them."""
        if not (self._may_write(request) and request.user.has_perm("channels.view_recipient")):
            raise PermissionDenied
        return JsonResponse({"values": known_values(request.POST.get("attribute", "").strip())})

    def _may_write(self, request: HttpRequest) -> bool:
        return self.has_add_permission(request) or self.has_change_permission(request)

    def changeform_view(
        self, request: HttpRequest, object_id: str | None = None, form_url: str = "", extra_context: Any = None
    ) -> Any:
        segment = self.get_object(request, object_id) if object_id else None
        shown = {
            "may_see_values": self._may_write(request) and request.user.has_perm("channels.view_recipient"),
            "known_attributes": known_attributes() if self.has_change_permission(request) else [],
            "count": count_in_words(segment.conditions) if segment else "",
            "used_by": used_by(segment, request.user) if segment else [],
        }
        return super().changeform_view(request, object_id, form_url, {**(extra_context or {}), **shown})


def used_by(segment: AudienceSegment, user: Any) -> list[str]:
    """What would write to more people without it: plans, and incidents whose next words go where the last ones went."""
    plans = CommunicationPlan.objects.filter(Q(segments=segment) | Q(stages__segments=segment)).distinct()
    chosen = IncidentUpdate.objects.filter(segments=segment)
    waiting = chosen.filter(status__in=IncidentUpdate.PENDING).values("incident")
    led = PlanVersion.objects.filter(incidents__in=Incident.objects.open())  # each as its plan stood then
    led_by = [one.pk for one in led.distinct() if segment.pk in one.all_segments()]
    going_on = Incident.objects.open().filter(
        Q(pk__in=chosen.values("incident")) | Q(plan_version__in=led_by)
    ) | Incident.objects.filter(pk__in=waiting)
    seen = list(going_on.for_user(user).values_list("title", flat=True))
    more = going_on.count() - len(seen)
    rest = [ngettext("%(n)d other incident", "%(n)d other incidents", more) % {"n": more}] if more else []
    return [*(str(plan) for plan in plans), *seen, *rest]


def known_attributes() -> list[str]:
    """Names that recipients have, the most frequent first; of the latest recipients."""
    sql, params = _latest()
    each, source = "key", f"({sql}) AS latest, json_each(attributes) WHERE json_type(attributes) = 'object'"
    if connection.vendor == "postgresql":
        only = "CASE jsonb_typeof(attributes) WHEN 'object' THEN attributes ELSE '{}' END"
        each, source = f"jsonb_object_keys({only})", f"({sql}) AS latest"
    return _most_frequent(f"SELECT {each} AS name FROM {source}", params, KNOWN)


def known_values(attribute: str) -> list[str]:
    """Values that recipients have for it, the most frequent first; of the latest recipients, and as it is compared."""
    if not attribute or len(attribute) > NAME or "\0" in attribute:
        return []
    sql, params = _latest()
    if connection.vendor == "postgresql":
        found = "attributes -> %s"
        each = f"CASE jsonb_typeof({found}) WHEN 'array' THEN {found} ELSE jsonb_build_array({found}) END"
        value, kind = "v.item #>> '{}'", "jsonb_typeof(v.item) IN ('string', 'number', 'boolean')"
        rows = f"SELECT {value} AS name FROM ({sql}) AS latest, jsonb_array_elements({each}) AS v(item) WHERE {kind}"
        params = [*params, attribute, attribute, attribute]
    else:
        truth = "WHEN 'true' THEN 'true' WHEN 'false' THEN 'false'"
        each = f"CASE a.type WHEN 'array' THEN a.value ELSE json_array(CASE a.type {truth} ELSE a.value END) END"
        value = f"CASE v.type {truth} ELSE CAST(v.value AS text) END"
        rows = (
            f"SELECT {value} AS name FROM ({sql}) AS latest, json_each(attributes) AS a, json_each({each}) AS v "
            "WHERE json_type(attributes) = 'object' AND a.key = %s AND a.type NOT IN ('object', 'null') "
            "AND v.type NOT IN ('object', 'array', 'null')"
        )
        params = [*params, attribute]
    usable = f"SELECT name FROM ({rows}) AS u WHERE name <> '' AND length(name) <= {VALUE}"
    return _most_frequent(usable, params, VALUES)


def _latest() -> tuple[str, list[Any]]:
    """A query of the attributes of the latest recipients."""
    # What a browser's push needs is no attribute that anybody chooses by.
    latest = PEOPLE.exclude(attributes={}).exclude(medium=Medium.WEBPUSH).order_by("-pk").values("attributes")[:SAMPLE]
    sql, params = latest.query.sql_with_params()
    return sql, list(params)


def _most_frequent(names: str, params: list[Any], most: int) -> list[str]:
    """Of a query with the column `name`; nothing if that takes too long."""
    counted = f"SELECT name FROM ({names}) AS n GROUP BY name ORDER BY COUNT(*) DESC, name LIMIT %s"
    try:
        with time_limit(PATIENCE), connection.cursor() as cursor:
            cursor.execute(counted, [*params, most])
            return [row[0] for row in cursor.fetchall()]
    except TookTooLong:
        return []


def count_in_words(conditions: list[dict[str, Any]]) -> str:
    """“12,431 recipients; 9,800 of them can be written to now: 9,000 by email, 800 by SMS”, or that it takes long."""
    total, rows = _counted(conditions)
    if total is None:
        return str(TOO_MANY)
    found = ngettext("%(n)s recipient", "%(n)s recipients", total) % {"n": preview.localise(total)}
    able = sum(n for _medium, n in rows)
    found += "; " + _("%(n)s of them can be written to now") % {"n": preview.localise(able)}
    if rows:
        labels = dict(Medium.choices) | preview.FORMS  # "by email" where there is such a word
        found += ": " + ", ".join(f"{preview.localise(n)} {labels.get(medium, medium)}" for medium, n in rows)
    return found


def _counted(conditions: list[dict[str, Any]]) -> tuple[int | None, list[tuple[str, int]]]:
    """How many people there are, and how many of them can be written to by medium; None: that took too long."""
    key = "segment-count-" + sha256(json.dumps(conditions, sort_keys=True).encode()).hexdigest()
    if (known := cache.get(key)) is not None:
        return known
    people = PEOPLE.filter(matching(conditions))
    ready = people.filter(~Suppression.of_recipient(), confirmed_at__isnull=False)
    found: tuple[int | None, list[tuple[str, int]]]
    try:
        with time_limit(PATIENCE):
            by_medium = ready.order_by().values_list("medium").annotate(n=Count("pk")).order_by("-n")
            found = people.count(), list(by_medium)
    except TookTooLong:
        found = None, []
    cache.set(key, found, KEPT)
    return found
