"""Reports by email in the admin: everybody's own page, and all of them for administrators."""

from typing import Any

from django import forms
from django.conf import settings
from django.contrib import admin, messages
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import render
from django.utils import translation
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from commsportal.admin import PortalModelAdmin, ReadOnlyAdmin
from feedback.models import Report
from feedback.models.report_mail import ReportMail, ReportSubscription, obstacles, of
from incidents.models import CommunicationPlan, Component


class AnyForm(forms.ModelForm):
    def clean(self) -> dict[str, Any]:
        data = super().clean() or {}
        if data.get("user"):
            for name, text in obstacles(data["user"], data.get("component")).items():
                self.add_error(name, text)
        return data


@admin.register(ReportSubscription)
class ReportSubscriptionAdmin(PortalModelAdmin):
    """For whoever may subscribe others: administrators."""

    form = AnyForm
    list_display = ["user", "every", "severity", "component", "plan", "locale", "active", "created_at"]
    list_filter = ["every", "active", "locale"]
    list_select_related = ["user", "component", "plan"]
    search_fields = ["user__username", "user__email"]
    autocomplete_fields = ["user", "component"]
    fields = ["user", "every", "severity", "component", "plan", "locale", "active"]

    def save_model(self, request: HttpRequest, obj: ReportSubscription, form: Any, change: bool) -> None:
        if not change:
            obj.created_by = request.user  # type: ignore[assignment]
        super().save_model(request, obj, form, change)


@admin.register(ReportMail)
class ReportMailAdmin(ReadOnlyAdmin):
    list_display = ["created_at", "subscription", "first", "last", "outcome", "detail"]
    list_filter = ["outcome", "created_at"]
    list_select_related = ["subscription__user"]
    search_fields = ["subscription__user__username"]


class OwnForm(forms.ModelForm):
    """What somebody wants to get; offers only what they see."""

    class Meta:
        model = ReportSubscription
        fields = ("every", "severity", "component", "plan", "locale")

    def __init__(self, user: Any, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **{"label_suffix": "", **kwargs})
        self.instance.user = self.instance.created_by = user
        own = Report.objects.for_user(user).order_by().values("plan")  # type: ignore[attr-defined]
        self.fields["severity"].choices = [("", _("All severities")), *self.fields["severity"].choices[1:]]  # type: ignore[attr-defined]
        for name, rows, empty in (
            ("component", Component.objects.for_user(user), _("All components")),
            ("plan", CommunicationPlan.objects.filter(pk__in=own), _("All plans")),
        ):
            field: Any = self.fields[name]
            field.queryset, field.empty_label = rows, empty
        for field in self.fields.values():
            field.widget.attrs["class"] = "cp-select"

    def clean(self) -> dict[str, Any]:
        data = super().clean() or {}
        user = self.instance.user
        for text in obstacles(user, data.get("component")).values():
            raise forms.ValidationError(text)
        if not self.errors and of(user).filter(**{name: data[name] for name in self.Meta.fields}).exists():
            raise forms.ValidationError(gettext_lazy("You get just this report already."))
        return data


def page(request: HttpRequest, context: dict[str, Any]) -> HttpResponse:
    """One's own reports by email: GET lists them, POST adds one or stops one."""
    user: Any = request.user
    form = OwnForm(user, initial=_initial(request))
    if request.method == "POST" and "stop" in request.POST:
        pk = request.POST["stop"]
        if pk.isdecimal() and len(pk) < 19 and of(user).filter(pk=int(pk)).update(active=False):
            messages.success(request, _("Stopped: it is not sent to you any more."))
        return HttpResponseRedirect(request.path)
    if request.method == "POST":
        form = OwnForm(user, request.POST)
        if form.is_valid():
            form.save()
            messages.success(request, _("You get it from now on, at %(email)s.") % {"email": user.email})
            return HttpResponseRedirect(request.path)
    context |= {
        "form": form,
        "own": of(user),
        "mails": ReportMail.objects.filter(subscription__user=user)[:10],
        "email": user.email,
    }
    return render(request, "admin/feedback/report/mail.html", context, status=400 if form.errors else 200)


def _initial(request: HttpRequest) -> dict[str, str]:
    language = translation.get_language() or settings.LANGUAGE_CODE
    locale = language if language in dict(settings.LANGUAGES) else settings.LANGUAGE_CODE
    return {"locale": locale, **{name: request.GET.get(name, "") for name in ("severity", "component", "plan")}}
