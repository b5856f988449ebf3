"""The compose page: the words on the left, what each reader will see on the right."""

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from django.contrib import messages
from django.db import transaction
from django.http import HttpRequest, HttpResponse, HttpResponseNotAllowed, HttpResponseRedirect, JsonResponse, QueryDict
from django.shortcuts import render
from django.template.loader import render_to_string
from django.urls import reverse
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from channels.models import Channel
from commsportal import zones
from incidents import approving, declaring, rendering, telling_staff
from incidents.checker import Finding, check
from incidents.errors import Problem, Refused, WrongState
from incidents.forms import ComposeForm, PictureForm
from incidents.models import (
    WORDS,
    Incident,
    IncidentUpdate,
    MessageTemplate,
    Rendition,
    Scenario,
)

from . import glance, maintenance, preview

if TYPE_CHECKING:
    from .update import IncidentUpdateAdmin

FOLDER = "admin/incidents/incidentupdate"
# The readers whose view can be chosen: key, name.
SHOWS = {
    "email": gettext_lazy("Email"),
    "text": gettext_lazy("Email as text"),
    "sms": gettext_lazy("SMS"),
    "post": gettext_lazy("Post"),
    "page": gettext_lazy("Status page"),
    "chat": gettext_lazy("Chat"),
    "voice": gettext_lazy("Phone call"),
}
# Facts beside which a finding has its place.
FACTS = ("next_update_at", "expected_resolution_at", "channels", "component_states")


def url(name: str, update: IncidentUpdate) -> str:
    return reverse(f"admin:incidents_incidentupdate_{name}", args=[update.pk])


# ── Views ───────────────────────────────────────────────────────────────────


def compose(admin: "IncidentUpdateAdmin", request: HttpRequest, pk: int) -> HttpResponse:
    """GET shows the form; POST saves, asks for approval, takes the template's words, or only previews."""
    update = admin.scoped(request, pk)
    if request.method != "POST":
        wanted = update.status == IncidentUpdate.Status.DRAFT or "edit" in request.GET
        if update.status not in IncidentUpdate.PENDING or not wanted or not update.may("write", request.user):
            return HttpResponseRedirect(url("review", update))
        return page(admin, request, update, ComposeForm(update))
    form = ComposeForm(update, request.POST)
    do = request.POST.get("do", "save")
    if do == "preview":
        return page(admin, request, update, form)
    if not form.is_valid():
        return _answer(admin, request, update, form, 422)
    if form.cleaned_data["version"] != update.version and _is_saved(update, form):
        # The page meets its own autosave, whose answer was lost: word for word what it holds stands saved.
        if _wants_json(request):
            return _saved(update)
        form.cleaned_data["version"] = update.version
    try:
        return _act(admin, request, update, form, do)
    except Problem as error:
        update.refresh_from_db()
        return _answer(admin, request, update, form, error.status, error)


def fragment(admin: "IncidentUpdateAdmin", request: HttpRequest, pk: int) -> HttpResponse:
    """What each reader would see of what is typed, and what the checker says. Saves nothing."""
    if request.method != "POST":
        return HttpResponseNotAllowed(["POST"])
    update = admin.scoped(request, pk)
    if not update.may("write", request.user):
        return HttpResponse(_("You may not write updates of this incident."), status=403)
    return render(request, f"{FOLDER}/preview.html", context(update, ComposeForm(update, request.POST)))


def _act(
    admin: "IncidentUpdateAdmin", request: HttpRequest, update: IncidentUpdate, form: ComposeForm, do: str
) -> HttpResponse:
    version = form.cleaned_data["version"]
    if do == "scenario":
        return _choose_scenario(request, update, form)
    if do in ("template", "template_confirmed"):
        if do == "template" and not _pristine(form):
            return page(admin, request, update, form, confirm_template=True)
        facts = form.facts()
        channels, segments = declaring.ways_at(update, facts["stage"], form.typed_channels(), form.typed_segments())
        rendering.use_template(update, request.user, version, channels=channels, segments=segments, **facts)
        messages.success(request, _("These are the words of the template for %s.") % update.get_stage_display())
        return HttpResponseRedirect(url("compose", update))
    before = update.status
    update.edit(
        request.user, version, form.words_to_save(), form.typed_channels(), form.typed_segments(), **form.facts()
    )
    if do == "submit":
        # Nothing was changed in one that waits already: it goes on waiting.
        if update.status == IncidentUpdate.Status.DRAFT:
            update.submit(request.user)
        if update.status == IncidentUpdate.Status.APPROVED:
            messages.success(request, _("These are the words of approved templates: no second person is needed."))
        if update.status == IncidentUpdate.Status.IN_REVIEW:
            names = approving.approvers_in_words(update)
            # The page says who could not be told, and why.
            level = messages.WARNING if telling_staff.untold(update) else messages.SUCCESS
            messages.add_message(request, level, _("Waiting for approval by %(names)s.") % {"names": names})
        return HttpResponseRedirect(url("review", update))
    if _wants_json(request):
        return _saved(update)
    saved = {"time": f"{timezone.localtime():%H:%M}"}
    if update.status == before:
        messages.success(request, _("Saved %(time)s.") % saved)
    else:
        messages.warning(request, _("Saved %(time)s. It is a draft again, and needs approval.") % saved)
    return HttpResponseRedirect(url("compose", update) + ("?edit=1" if update.status != "draft" else ""))


def _choose_scenario(request: HttpRequest, update: IncidentUpdate, form: ComposeForm) -> HttpResponse:
    """Give an incident that was declared without a scenario one; an empty draft takes the template's words."""
    chosen = request.POST.get("_scenario", "")
    scenario = next((one for one in _scenarios(update) if str(one.pk) == chosen), None)
    if scenario is None:
        raise Refused(_("Choose a scenario from the list."))
    version, pristine = form.cleaned_data["version"], _pristine(form)
    with transaction.atomic():
        update.edit(
            request.user, version, form.words_to_save(), form.typed_channels(), form.typed_segments(), **form.facts()
        )
        Incident.objects.filter(pk=update.incident_id, scenario=None).update(scenario=scenario)
        update.incident.refresh_from_db()
        if pristine:
            rendering.use_template(update, request.user, update.version)
    messages.success(request, _("The scenario is “%s”.") % scenario)
    return HttpResponseRedirect(url("compose", update))


def _scenarios(update: IncidentUpdate) -> Iterable[Scenario]:
    """Those that an incident without one can still get."""
    if update.incident.scenario_id:
        return []
    return Scenario.objects.filter(maintenance=update.incident.maintenance)


def _saved(update: IncidentUpdate) -> HttpResponse:
    return JsonResponse({"version": update.version, "saved": f"{timezone.localtime():%H:%M}"})


def _is_saved(update: IncidentUpdate, form: ComposeForm) -> bool:
    """Whether exactly this stands saved already: an autosave whose answer was lost comes again."""
    saved = {r.locale: r.words() for r in update.renditions.all()}
    return (
        update.status == IncidentUpdate.Status.DRAFT
        and all(saved.get(locale) == words for locale, words in form.words_to_save().items())
        and all(getattr(update, name) == value for name, value in form.facts().items())
        and form.typed_channels() == list(update.channels.order_by("pk"))
        and form.typed_segments() == list(update.segments.order_by("name"))
    )


def _wants_json(request: HttpRequest) -> bool:
    return request.headers.get("X-Requested-With") == "autosave"


def _answer(
    admin: "IncidentUpdateAdmin",
    request: HttpRequest,
    update: IncidentUpdate,
    form: ComposeForm,
    status: int,
    error: Exception | None = None,
) -> HttpResponse:
    """The page again with what was typed and why it was refused; for autosave only the reason."""
    if not _wants_json(request):
        return page(admin, request, update, form, status=status, error=error)
    extra = {"error": error, "form": form, "update": update, "theirs": _theirs(update, form, error)}
    html = render_to_string(f"{FOLDER}/refusal.html", extra, request)
    return JsonResponse({"html": html, "version": update.version}, status=status)


def page(
    admin: "IncidentUpdateAdmin",
    request: HttpRequest,
    update: IncidentUpdate,
    form: ComposeForm,
    status: int = 200,
    error: Exception | None = None,
    picture_form: PictureForm | None = None,
    **extra: Any,
) -> HttpResponse:
    theirs = _theirs(update, form, error)
    if theirs and isinstance(form.data, QueryDict):
        # Saving once more means: mine shall stand, now that I have seen theirs.
        form.data = form.data.copy()
        form.data["version"] = str(update.version)
    shown = {
        **admin.admin_site.each_context(request),
        **context(update, form),
        "title": _("Write update: %(incident)s") % {"incident": update.incident},
        "opts": admin.opts,
        "error": error,
        "theirs": theirs,
        "sent_back": glance.sent_back(update),
        "goes_out": maintenance.goes_out(update),
        "zone": zones.in_words(timezone.get_current_timezone_name()),
        "language": request.POST.get("_lang") or form.locales[0],
        "show": request.POST.get("_show") or "email",
        "shows": SHOWS,
        "picture_form": picture_form or PictureForm(update),
        **extra,
    }
    return render(request, f"{FOLDER}/compose.html", shown, status=status)


def _theirs(update: IncidentUpdate, form: ComposeForm, error: Exception | None) -> list[dict[str, Any]]:
    """Fields in which the saved words differ from the typed ones, when somebody else saved in between."""
    if not isinstance(error, WrongState) or update.status not in IncidentUpdate.PENDING:
        return []
    saved = {r.locale: r.words() for r in update.renditions.all()}
    return [
        {
            "key": f"{locale}-{field}",
            "language": preview.LANGUAGES.get(locale, locale),
            "label": WORDS[field],
            "text": saved.get(locale, {}).get(field, ""),
            "difference": preview.difference(saved.get(locale, {}).get(field, ""), text),
        }
        for locale, words in form.typed_words().items()
        for field, text in words.items()
        if text != saved.get(locale, {}).get(field, "")
    ]


# ── What the page shows ─────────────────────────────────────────────────────


def context(update: IncidentUpdate, form: ComposeForm) -> dict[str, Any]:
    """Everything that follows from what is typed: previews, findings, counters, audience, differences."""
    twin, renditions, channels = form.typed()
    found = check(twin, renditions, channels)
    reach = preview.reach_of_draft(twin, renditions, channels, form.typed_segments())
    drafts = {r.locale: rendering.draft_words(twin, r.locale) for r in renditions}
    return {
        "update": update,
        "form": form,
        "incident": update.incident,
        # An incident that was declared without a scenario can still get one.
        "scenarios": _scenarios(update),
        "languages": _languages(form, twin, renditions, channels, found, drafts),
        "limits": preview.limits(channels if twin.notify else []),
        "audience": preview.audience_in_words(reach),
        "nobody": reach.nobody(),
        "facts": {field: [f for f in found if f.field == field and not f.locale] for field in FACTS},
        "general": [f for f in found if not f.locale and not f.field],
        "findings": found,
        "blocking": sum(f.blocks for f in found),
        "advice": sum(not f.blocks for f in found),
        "template_offer": any(drafts[r.locale][1] and r.words() != drafts[r.locale][0] for r in renditions),
        "stage_label": twin.get_stage_display(),
        "next_update_at": twin.next_update_at,
        "expected_resolution_at": twin.expected_resolution_at,
    }


def _languages(
    form: ComposeForm,
    twin: IncidentUpdate,
    renditions: list[Rendition],
    channels: list[Channel],
    found: list[Finding],
    drafts: Mapping[str, tuple[dict[str, str], MessageTemplate | None]],
) -> list[dict[str, Any]]:
    """Each language with its fields and their findings, its preview and its differences."""
    by_locale = {r.locale: r for r in renditions}
    last = glance.said_before(twin).values("pk")[:1]
    before = {r.locale: r.words() for r in Rendition.objects.filter(update__in=last)}
    rows = []
    for locale in form.locales:
        rendition = by_locale.get(locale)
        mine = [f for f in found if f.locale == locale]
        row: dict[str, Any] = {
            "locale": locale,
            "name": preview.LANGUAGES.get(locale, locale),
            "count": len(mine),
            "blocks": any(f.blocks for f in mine),
            "fields": [
                {"name": field, "field": form[f"{locale}-{field}"], "findings": [f for f in mine if f.field == field]}
                for field in WORDS
            ],
            "picture_findings": [f for f in mine if f.field == "picture"],
        }
        if rendition:
            draft, template = drafts[locale]
            row["preview"] = preview.preview(twin, rendition, channels if twin.notify else [])
            row["since_template"] = preview.differences(draft, rendition.words(), WORDS) if template else None
            row["since_before"] = (
                preview.differences(before[locale], rendition.words(), WORDS) if locale in before else None
            )
        rows.append(row)
    return rows


def _pristine(form: ComposeForm) -> bool:
    """Whether the words are still those of the templates they came from."""
    twin, renditions, _channels = form.typed()
    for rendition in renditions:
        if rendition.template is None:
            if any(rendition.words().values()):
                return False
            continue
        twin.stage = rendition.template.stage
        if rendition.words() != rendering.draft_words(twin, rendition.locale)[0]:
            return False
    return True
