"""Recipients in the admin, with what incidents know of them: import, export, history, erasing."""

from datetime import datetime
from typing import Any

from django import forms
from django.contrib import admin, messages
from django.contrib.admin.models import CHANGE, LogEntry
from django.contrib.admin.options import IncorrectLookupParameters
from django.contrib.contenttypes.models import ContentType
from django.core.exceptions import PermissionDenied
from django.db.models import Q
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect, StreamingHttpResponse
from django.shortcuts import render
from django.urls import URLPattern, path
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from unfold.admin import TabularInline
from unfold.decorators import action, display
from unfold.widgets import UnfoldAdminSelectWidget

from channels import erasing, own_secrets
from channels.admin import RecipientAdmin
from channels.models import Delivery, Medium, Recipient, Suppression
from channels.reasons import explain
from incidents import subscriber_export, subscriber_import
from incidents.errors import Problem
from incidents.models import (
    Component,
    ComponentGroup,
    Incident,
    IncidentUpdate,
    SubscriberImport,
    Subscription,
    SubscriptionRequest,
)
from incidents.subscriber_file import MAX_BYTES, OURS, BadFile

from . import glance
from .refusal import refused

SHOWN_DELIVERIES = 50
SHOWN_BAD_ROWS = 200


class UploadForm(forms.Form):
    """A file, and where the consent of the people in it comes from."""

    file = forms.FileField(label=gettext_lazy("CSV file"))
    consent_source = forms.CharField(
        label=gettext_lazy("Source of consent"),
        max_length=120,
        help_text=gettext_lazy("What says that these people may be written to, for example: contract 2025, clause 7."),
    )
    consent_on = forms.DateField(
        label=gettext_lazy("Date of consent"), widget=forms.DateInput(format="%Y-%m-%d", attrs={"type": "date"})
    )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        for field in self.fields.values():
            field.widget.attrs["class"] = "cp-input"

    def clean_consent_on(self) -> Any:
        on = self.cleaned_data["consent_on"]
        if on > timezone.localdate():
            raise forms.ValidationError(_("This date is in the future: write when the people agreed."))
        if on.year < 1900:
            raise forms.ValidationError(_("This date is too long ago: write when the people agreed."))
        return on


def _about(one: Subscription) -> str:
    """What a subscription is about, as the choice is named; empty: everything."""
    if one.group_id:
        return f"group-{one.group_id}"
    return f"component-{one.component_id}" if one.component_id else ""


class SubscriptionForm(forms.ModelForm):
    """One choice for everything, a group or a component, so that nobody can name two at once."""

    about = forms.ChoiceField(
        label=gettext_lazy("hears of"),
        required=False,
        widget=UnfoldAdminSelectWidget,
        error_messages={
            "invalid_choice": gettext_lazy("“%(value)s” is not here any more, or not yours to see. Choose another.")
        },
    )

    class Meta:
        model = Subscription
        fields = ["least_severity", "maintenance"]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.initial["about"] = _about(self.instance)
        # What a row is about stays: who wants another removes it and adds one. So no two rows can change places.
        self.fields["about"].disabled = self.instance.pk is not None

    def has_changed(self) -> bool:
        # A row that is there is meant: the one that is ready for a new recipient says "everything" as it stands.
        return self.instance.pk is None or super().has_changed()

    def clean(self) -> dict[str, Any]:
        data = super().clean() or self.cleaned_data
        kind, _dash, pk = data.get("about", "").partition("-")
        for name in ("group", "component"):
            setattr(self.instance, f"{name}_id", int(pk) if kind == name else None)
        return data


class SubscriptionFormSet(forms.BaseInlineFormSet):
    """Each component, each group and everything at most once."""

    def clean(self) -> None:
        super().clean()
        shown = [form.instance.pk for form in self.initial_forms]
        # Such as one that an import added while this page stood open.
        others = Subscription.objects.filter(recipient=self.instance.pk).exclude(pk__in=shown)
        seen = {_about(one) for one in others}
        for form in self.forms:
            about = getattr(form, "cleaned_data", {}).get("about")
            if about is None or form in self.deleted_forms:
                continue
            if about in seen:
                form.add_error("about", _("This is here twice: remove one of the two."))
            seen.add(about)

    def add_fields(self, form: Any, index: int | None) -> None:
        super().add_fields(form, index)
        form.fields["about"].choices = self.choices  # type: ignore[attr-defined]


class SubscriptionInline(TabularInline):
    """What they hear of, changed by whoever may change the person."""

    model = Subscription
    form = SubscriptionForm
    formset = SubscriptionFormSet
    fields = ["about", "least_severity", "maintenance"]
    verbose_name = gettext_lazy("subscription")
    verbose_name_plural = gettext_lazy("What they hear of (without a row: nothing)")
    hide_title = True

    @display(description=gettext_lazy("hears of"))
    def about(self, one: Subscription) -> str:
        """For those who may only look."""
        return str(one.component or one.group or _("everything"))

    def get_queryset(self, request: HttpRequest) -> Any:
        seen = Component.objects.for_user(request.user).values("pk")
        return (
            super()
            .get_queryset(request)
            .filter(Q(component=None) | Q(component__in=seen))
            .select_related("component", "group")
            .order_by("pk")
        )

    def get_extra(self, request: HttpRequest, obj: Any = None, **kwargs: Any) -> int:
        return 0 if obj else 1

    def get_formset(self, request: HttpRequest, obj: Any = None, **kwargs: Any) -> Any:
        made = super().get_formset(request, obj, **kwargs)
        groups = [(f"group-{one.pk}", one.name) for one in ComponentGroup.objects.all()]
        components = [(f"component-{one.pk}", one.name) for one in Component.objects.for_user(request.user)]
        made.choices = [("", _("everything")), (_("Groups"), groups), (_("Components"), components)]
        return made

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return request.user.has_perm("channels.view_recipient") or self.has_change_permission(request, obj)

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return request.user.has_perm(f"channels.{'change' if obj else 'add'}_recipient")

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return request.user.has_perm("channels.change_recipient")

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return self.has_change_permission(request, obj)


admin.site.unregister(Recipient)


@admin.register(Recipient)
class SubscriberAdmin(RecipientAdmin):
    """The recipients of channels, as subscribers. Nobody is deleted here but by erasing."""

    actions_list = ["import_button", "export_button"]
    actions_detail = ["erase_button"]
    inlines = [SubscriptionInline]
    change_form_after_template = "admin/channels/recipient/history.html"

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_import_permission(self, request: HttpRequest, *_object: Any) -> bool:
        return self.has_add_permission(request) and self.has_change_permission(request)

    def has_export_permission(self, request: HttpRequest, *_object: Any) -> bool:
        return self.has_change_permission(request)

    def has_erase_permission(self, request: HttpRequest, *_object: Any) -> bool:
        return self.has_change_permission(request)

    def get_urls(self) -> list[URLPattern]:
        wrap = self.admin_site.admin_view
        own = [
            path("import/", wrap(self.import_view), name="channels_recipient_import"),
            path("import/<int:pk>/", wrap(self.preview_view), name="channels_recipient_preview"),
            path("import/<int:pk>/bad.csv", wrap(self.bad_rows_view), name="channels_recipient_bad_rows"),
            path("export/", wrap(self.export_view), name="channels_recipient_export"),
            path("<int:pk>/erase/", wrap(self.erase_view), name="channels_recipient_erase"),
        ]
        return [*own, *super().get_urls()]

    # ── Import ──

    @action(description=gettext_lazy("Import"), icon="upload", permissions=["import"], url_path="to-import")
    def import_button(self, request: HttpRequest) -> HttpResponse:
        return HttpResponseRedirect(glance.link("channels_recipient_import"))

    def _page(self, request: HttpRequest, name: str, title: str, status: int = 200, **context: Any) -> HttpResponse:
        page = {**self.admin_site.each_context(request), "opts": self.opts, "title": title, **context}
        return render(request, f"admin/channels/recipient/{name}.html", page, status=status)

    def import_view(self, request: HttpRequest) -> HttpResponse:
        """Upload a file; what it would do is shown next."""
        if not self.has_import_permission(request):
            raise PermissionDenied
        form = UploadForm(request.POST or None, request.FILES or None)
        if request.method == "POST" and form.is_valid():
            file, data = form.cleaned_data["file"], form.cleaned_data
            try:
                content = file.read(MAX_BYTES + 1)
                kept = subscriber_import.keep(
                    _who(request), file.name, content, data["consent_source"], data["consent_on"]
                )
            except BadFile as error:
                form.add_error("file", str(error))
            else:
                return HttpResponseRedirect(glance.link("channels_recipient_preview", kept.pk))
        status = 422 if request.method == "POST" else 200
        return self._page(request, "import", _("Import subscribers"), status, form=form, columns=OURS)

    def _own(self, request: HttpRequest, pk: int) -> SubscriberImport:
        if not self.has_import_permission(request):
            raise PermissionDenied
        found = SubscriberImport.objects.filter(pk=pk, by=_who(request)).first()
        if found is None:
            raise Http404
        return found

    def preview_view(self, request: HttpRequest, pk: int) -> HttpResponse:
        """GET shows what the import would do, POST does it."""
        one = self._own(request, pk)
        back = glance.link("channels_recipient_import")
        here = glance.link("channels_recipient_preview", pk)
        try:
            if request.method == "POST":
                counts = subscriber_import.apply(one, request.POST.get("fingerprint", ""))
                self._log_import(request, one, counts)
                return HttpResponseRedirect(glance.link("channels_recipient_changelist"))
            plan = subscriber_import.plan(one)
        except Problem as error:
            return refused(request, error, here if request.method == "POST" and one.is_open else back)
        return self._page(
            request,
            "preview",
            _("What this import would do"),
            one=one,
            plan=plan,
            bad=plan.bad[:SHOWN_BAD_ROWS],
            does=plan.counts.new + plan.counts.changed,
            more_bad=max(len(plan.bad) - SHOWN_BAD_ROWS, 0),
        )

    def _log_import(self, request: HttpRequest, one: SubscriberImport, counts: subscriber_import.Counts) -> None:
        text = _("Imported “%(file)s” (%(source)s): %(new)d new, %(changed)d changed, %(bad)d lines left out.")
        text %= {"file": one.filename, "source": one.consent_source, **vars(counts)}
        self._log(request, one, text)
        messages.success(request, text)

    def _log(self, request: HttpRequest, about: Any, text: str) -> None:
        LogEntry.objects.create(
            user_id=_who(request).pk,
            content_type=ContentType.objects.get_for_model(type(about)),
            object_id=str(about.pk or ""),
            object_repr=str(about)[:200] if about.pk else _("Recipients"),
            action_flag=CHANGE,
            change_message=text,
        )

    def bad_rows_view(self, request: HttpRequest, pk: int) -> HttpResponse:
        one = self._own(request, pk)
        try:
            content = subscriber_import.bad_rows_csv(subscriber_import.plan(one).bad)
        except Problem as error:
            return refused(request, error, glance.link("channels_recipient_import"))
        response = HttpResponse(content, content_type="text/csv; charset=utf-8")
        response["Content-Disposition"] = 'attachment; filename="left-out.csv"'
        return response

    # ── Export ──

    @action(description=gettext_lazy("Export"), icon="download", permissions=["export"], url_path="to-export")
    def export_button(self, request: HttpRequest) -> HttpResponse:
        query = request.META.get("HTTP_REFERER", "").partition("?")[2]
        return HttpResponseRedirect(glance.link("channels_recipient_export") + (f"?{query}" if query else ""))

    def export_view(self, request: HttpRequest) -> HttpResponse | StreamingHttpResponse:
        """The list as it is filtered, as a file."""
        if not self.has_export_permission(request):
            raise PermissionDenied
        try:
            people = self.get_changelist_instance(request).get_queryset(request)
        except IncorrectLookupParameters:
            return HttpResponseRedirect(glance.link("channels_recipient_changelist") + "?e=1")
        count = people.count()
        self._log(request, Recipient(), _("Exported %(n)d recipients.") % {"n": count})
        response = StreamingHttpResponse(subscriber_export.lines(people), content_type="text/csv; charset=utf-8")
        response["Content-Disposition"] = 'attachment; filename="recipients.csv"'
        return response

    # ── History ──

    def render_change_form(self, request: HttpRequest, context: Any, *args: Any, **kwargs: Any) -> Any:
        person = context.get("original")
        if person:
            context |= history(person, _who(request))
        return super().render_change_form(request, context, *args, **kwargs)

    # ── Erase ──

    @action(
        description=gettext_lazy("Erase this person"), icon="person_off", permissions=["erase"], url_path="to-erase"
    )
    def erase_button(self, request: HttpRequest, object_id: int) -> HttpResponse:
        return HttpResponseRedirect(glance.link("channels_recipient_erase", object_id))

    def erase_view(self, request: HttpRequest, pk: int) -> HttpResponse:
        """GET says what will happen, POST does it."""
        person = self.get_queryset(request).filter(pk=pk).first()
        if person is None:
            raise Http404
        if not self.has_erase_permission(request):
            raise PermissionDenied
        if request.method == "POST":
            try:
                kept = erasing.erase(person, _who(request))
            except Recipient.DoesNotExist:  # somebody else was faster
                raise Http404 from None
            text = _("Erased. %(n)d messages stay on record without the person, and the address stays stopped.")
            messages.success(request, text % {"n": kept})
            return HttpResponseRedirect(glance.link("channels_recipient_changelist"))
        sent = erasing.deliveries_of(person.pk).count()
        return self._page(request, "erase", _("Erase this person?"), person=person, sent=sent)


def _who(request: HttpRequest) -> Any:
    """The member of staff; the admin lets nobody else in."""
    return request.user


def history(person: Recipient, reader: Any) -> dict[str, Any]:
    """What was sent to somebody and why it may be; a constant number of queries.

    Of an incident that the `reader` may not see, there is no title.
    """
    sent = list(
        erasing.deliveries_of(person.pk)
        .select_related("dispatch__channel", "dispatch__via")
        .order_by("-dispatch_id")[:SHOWN_DELIVERIES]
    )
    sources = {source.partition(":")[2] for source in {one.dispatch.source for one in sent}}
    updates = IncidentUpdate.objects.filter(
        pk__in=[int(pk) for pk in sources if pk.isdecimal()],
        incident__in=Incident.objects.for_user(reader).order_by().values("pk"),
    )
    about = {f"update:{one.pk}": one for one in updates.select_related("incident")}
    asked = SubscriptionRequest.objects.filter(
        medium=person.medium, address_hash=person.address_hash, confirmed_at__isnull=False
    ).first()
    return {
        "sent": [_line(one, about) for one in sent],
        "asked": asked,
        "lifted": _lifted(asked),
        "signing": _signing(person),
        "stopped": Suppression.objects.filter(medium=person.medium, address_hash=person.address_hash).first(),
    }


def _signing(person: Recipient) -> dict[str, Any] | None:
    """What staff may know of a webhook's signing secrets: whose they are and since when, and nothing of the secrets."""
    if person.medium != Medium.WEBHOOK:
        return None
    stored = person.signing
    return {
        "own": bool(stored),
        "since": own_secrets.since(stored),
        "overlap_ends": own_secrets.overlap_ends(stored),
    }


def _lifted(asked: SubscriptionRequest | None) -> dict[str, Any] | None:
    """The suppression that ended when they confirmed, for the page."""
    gone = asked.wanted.get("lifted") if asked else None
    return gone and gone | {
        "reason": Suppression.Reason(gone["reason"]).label,
        "since": datetime.fromisoformat(gone["since"]),
    }


def _line(one: Delivery, about: dict[str, IncidentUpdate]) -> dict[str, Any]:
    update = about.get(one.dispatch.source)
    return {
        "delivery": one,
        "title": update.incident.title if update else one.dispatch.get_purpose_display(),
        "url": glance.link("incidents_incident_change", update.incident_id) if update else "",
        "channel": one.dispatch.via,
        "locale": one.dispatch.locale,
        "reason": explain(one.code).words if one.code else "",
    }
