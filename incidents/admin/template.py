"""Scenarios, and the words prepared for them."""

from typing import Any

from django.conf import settings
from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db import transaction
from django.db.models import Case, Count, IntegerField, QuerySet, Value, When
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import get_object_or_404, render
from django.urls import URLPattern, path
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext
from unfold.decorators import action

from commsportal.admin import PortalModelAdmin
from incidents import library, rendering
from incidents.errors import Problem
from incidents.models import OVER, WORDS, MessageTemplate, Scenario, Stage

from . import glance
from .history import HistoryAdmin
from .refusal import refused

# Where a stage stands among all; the database knows only their names.
PLACE = Case(
    *(When(stage=stage, then=Value(place)) for place, stage in enumerate(Stage.values)), output_field=IntegerField()
)


@admin.register(Scenario)
class ScenarioAdmin(PortalModelAdmin):
    list_display = ["name", "description", "templates_written"]
    search_fields = ["name", "description"]
    prepopulated_fields = {"slug": ["name"]}
    fields = ["name", "slug", "description", "maintenance", "position"]
    ordering = ["position", "name"]

    def get_queryset(self, request: HttpRequest) -> QuerySet[Scenario]:
        return super().get_queryset(request).annotate(written=Count("templates"))

    @admin.display(description=gettext_lazy("templates"), ordering="written")
    def templates_written(self, scenario: Scenario) -> str:
        of = len(scenario.stages) * len(settings.LANGUAGES)
        return _("%(written)s of %(of)s") % {"written": scenario.written, "of": of}  # type: ignore[attr-defined]


@admin.register(MessageTemplate)
class MessageTemplateAdmin(HistoryAdmin):
    """The words, with what may stand in {{ }} beside them and how they read on sample values below."""

    list_display = ["scenario", "at_stage", "locale", "subject", "approved", "updated_at"]
    list_display_links = ["scenario", "subject"]
    list_filter = ["scenario", "stage", "locale"]
    search_fields = ["subject", "issue", "impact", "scenario__name"]
    list_select_related = ["scenario"]
    readonly_fields = ["placeholders", "sample"]
    fieldsets = [
        (None, {"fields": ["scenario", "stage", "locale"]}),
        (gettext_lazy("Placeholders"), {"fields": ["placeholders"]}),
        (gettext_lazy("Words"), {"fields": list(WORDS)}),
        (gettext_lazy("As customers would read it"), {"fields": ["sample"]}),
    ]

    change_form_after_template = "admin/incidents/messagetemplate/approval.html"
    actions_list = ["ready_button"]

    def get_urls(self) -> list[URLPattern]:
        approve = path(
            "<int:pk>/approve/",
            self.admin_site.admin_view(self.approve_view),
            name="incidents_messagetemplate_approve",
        )
        ready = path("ready/", self.admin_site.admin_view(self.ready_view), name="incidents_messagetemplate_ready")
        return [approve, ready, *super().get_urls()]

    # ── What comes with the portal ──

    @action(
        description=gettext_lazy("Ready-made templates"), icon="library_add", permissions=["add"], url_path="to-ready"
    )
    def ready_button(self, request: HttpRequest) -> HttpResponse:
        return HttpResponseRedirect(glance.link("incidents_messagetemplate_ready"))

    def ready_view(self, request: HttpRequest) -> HttpResponse:
        """GET shows what comes with the portal beside what is here; POST brings in what is missing, and no more."""
        if not self.has_add_permission(request):
            raise PermissionDenied
        back = glance.link("incidents_messagetemplate_changelist")
        if request.method == "POST":
            with transaction.atomic():
                n = sum(library.load(entry).created for entry in library.entries())
            text = ngettext("%(n)d template was brought in.", "%(n)d templates were brought in.", n) % {"n": n}
            messages.success(request, text)
            return HttpResponseRedirect(back)
        rows = [
            {
                "entry": one.entry,
                "same": one.same,
                "missing": [f"{Stage(stage).label} ({locale})" for stage, locale in one.missing],
                "changed": one.changed,
            }
            for one in library.standings()
        ]
        context = {
            **self.admin_site.each_context(request),
            "title": _("Ready-made templates"),
            "rows": rows,
            "some": any(row["missing"] for row in rows),
            "back": back,
        }
        return render(request, "admin/incidents/messagetemplate/ready.html", context)

    # ── The list, in the order in which incidents go ──

    def get_ordering(self, request: HttpRequest) -> list[Any]:
        return ["scenario__position", "scenario__name", PLACE, "locale"]

    @admin.display(description=gettext_lazy("stage"), ordering=PLACE)
    def at_stage(self, template: MessageTemplate) -> str:
        return template.get_stage_display()

    def approve_view(self, request: HttpRequest, pk: int) -> HttpResponse:
        """POST approves the words as they were shown."""
        template = get_object_or_404(self.get_queryset(request), pk=pk)
        back = glance.link("incidents_messagetemplate_change", pk)
        if not self.has_view_permission(request, template):
            raise PermissionDenied
        if request.method == "POST":
            try:
                template.approve(request.user, request.POST.get("seen_hash", ""))
            except Problem as error:
                return refused(request, error, back)
            messages.success(request, _("Approved: plans may let these words out unchanged."))
        return HttpResponseRedirect(back)

    def changeform_view(
        self, request: HttpRequest, object_id: str | None = None, form_url: str = "", extra_context: Any = None
    ) -> Any:
        template = self.get_object(request, object_id) if object_id else None
        able = request.user.has_perm("incidents.approve_incidentupdate")
        shown = {
            "template": template,
            "approver": glance.name(template.approved_by) if template and template.approved_by else "",
            "may_approve": able
            and template is not None
            and not template.is_approved
            and request.user not in template.writers(),
        }
        return super().changeform_view(request, object_id, form_url, {**(extra_context or {}), **shown})

    @admin.display(description=gettext_lazy("words approved"), boolean=True)
    def approved(self, template: MessageTemplate) -> bool:
        return template.is_approved

    def formfield_for_dbfield(self, db_field: Any, request: HttpRequest, **kwargs: Any) -> Any:
        field = super().formfield_for_dbfield(db_field, request, **kwargs)
        if field is not None and db_field.name in WORDS and db_field.name != "subject":
            field.widget.attrs["rows"] = 3
        return field

    @admin.display(description=gettext_lazy("what you may write"))
    def placeholders(self, template: MessageTemplate) -> SafeString:
        rows = ((name, meaning) for name, meaning in rendering.VARIABLES.items())
        listed = format_html_join("", "<dt><code>{{{{ {} }}}}</code></dt><dd>{}</dd>", rows)
        return format_html('<dl class="cp-facts cp-small cp">{}</dl>', listed)

    @admin.display(description=gettext_lazy("saved words on sample values"))
    def sample(self, template: MessageTemplate) -> SafeString | str:
        if not template.pk:
            return _("Save it to see it on sample values.")
        sample = rendering.sample_values(template.locale)
        filled = {field: rendering.fill(text, sample) for field, text in template.words().items()}
        found = rendering.sections(filled, template.locale, over=template.stage in OVER)
        parts = [(heading, rendering.markdown(body)) for heading, body in found]
        body = format_html_join("", "<h4>{}</h4>{}", ((heading, SafeString(html)) for heading, html in parts))
        short = [(WORDS[f], filled[f]) for f in ("sms", "post") if filled[f]]
        rest = format_html_join("", "<h4>{}</h4><p>{}</p>", short)
        return format_html(
            '<div class="cp-words cp"><p class="cp-strong">{}</p>{}{}</div>', filled["subject"], body, rest
        )
