"""Where is listened, for which words, and what was heard."""

from typing import Any

from django import forms
from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import render
from django.urls import URLPattern, path, reverse
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.text import Truncator
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext
from unfold.decorators import action, display

from channels.models import Channel
from commsportal.admin import PortalModelAdmin, ReadOnlyAdmin
from incidents.admin.alert import WholeCompanyAdmin
from incidents.admin.refusal import refused
from incidents.errors import Problem
from incidents.models import Component
from incidents.models.component import OPERATE

from . import bringing
from .models import SocialPost, SocialSource, WatchTerm
from .sentiment import Label
from .taking_in import take_in

STATES = {
    "well": (gettext_lazy("Listening"), "success"),
    "waiting": (gettext_lazy("Nothing heard yet"), "warning"),
    "trouble": (gettext_lazy("In trouble"), "danger"),
    "off": (gettext_lazy("Off"), "default"),
}
MOODS = {
    Label.NEGATIVE.value: "danger",
    Label.NEUTRAL.value: "default",
    Label.POSITIVE.value: "success",
    Label.UNREAD.value: "warning",
}


# ── Sources ─────────────────────────────────────────────────────────────────


class SocialSourceForm(forms.ModelForm):
    class Meta:
        model = SocialSource
        fields = ["name", "channel", "enabled"]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if "channel" in self.fields:
            able = [one.pk for one in Channel.objects.all() if one.capabilities and one.capabilities.hears]
            self.fields["channel"].queryset = Channel.objects.filter(pk__in=able)  # type: ignore[attr-defined]
            self.fields["channel"].empty_label = _("None: an inbox")  # type: ignore[attr-defined]


@admin.register(SocialSource)
class SocialSourceAdmin(WholeCompanyAdmin):
    form = SocialSourceForm
    list_display = ["name", "channel_or_inbox", "health_shown", "heard_at"]
    list_select_related = ["channel"]
    list_filter = ["enabled"]
    search_fields = ["name"]
    actions_detail = ["inbox_button"]

    @display(description=gettext_lazy("state"), label={key: kind for key, (_word, kind) in STATES.items()})
    def health_shown(self, source: SocialSource) -> tuple[str, Any]:
        return source.health, STATES[source.health][0]

    @admin.display(description=gettext_lazy("channel"))
    def channel_or_inbox(self, source: SocialSource) -> str:
        return source.channel.name if source.channel else _("Inbox")

    def get_fields(self, request: HttpRequest, obj: SocialSource | None = None) -> Any:
        return ["name", "channel", "enabled", *(["heard_at", "trouble"] if obj else [])]

    def get_readonly_fields(self, request: HttpRequest, obj: SocialSource | None = None) -> list[str]:
        return ["channel", "heard_at", "trouble"] if obj else []

    def save_model(self, request: HttpRequest, obj: SocialSource, form: Any, change: bool) -> None:
        # Only what the form shows: a worker may be moving the cursor right now.
        obj.save(update_fields=[*form.cleaned_data]) if change else obj.save()

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        # What has told something is switched off; what it told is deleted in time.
        return super().has_delete_permission(request, obj) and not (obj and obj.posts.exists())

    # ── An inbox ──

    def get_urls(self) -> list[URLPattern]:
        wrap = self.admin_site.admin_view
        own = [path("<int:pk>/inbox/", wrap(self.inbox_view), name="feedback_socialsource_inbox")]
        return [*own, *super().get_urls()]

    @action(description=gettext_lazy("Bring posts"), icon="inbox", url_path="to-inbox", permissions=["is_inbox"])
    def inbox_button(self, request: HttpRequest, object_id: str) -> HttpResponse:
        return HttpResponseRedirect(reverse("admin:feedback_socialsource_inbox", args=[object_id]))

    def has_is_inbox_permission(self, request: HttpRequest, object_id: Any = None) -> bool:
        return SocialSource.objects.filter(pk=object_id, channel=None).exists()

    def inbox_view(self, request: HttpRequest, pk: int) -> HttpResponse:
        """GET tells how to bring posts; POST makes the secret, shown this once, or takes a CSV file in."""
        source = self.get_object(request, str(pk))
        if source is None or source.channel_id:
            raise Http404
        if not self.has_view_permission(request, source):
            raise PermissionDenied
        shown, errors = "", []
        if request.method == "POST":
            if not self.has_change_permission(request, source):
                raise PermissionDenied
            if "file" in request.FILES or "upload" in request.POST:
                errors = self._upload(request, source)
                if not errors:
                    return HttpResponseRedirect(request.path)
            else:
                try:
                    shown = source.renew_secret(at_once=bool(request.POST.get("at_once")))
                except Problem as problem:
                    return refused(request, problem, request.path)
                self.log_change(request, source, _("New secret."))
        context = {
            **self.admin_site.each_context(request),
            "opts": self.opts,
            "title": _("Bring posts to “%(name)s”") % {"name": source.name},
            "source": source,
            "shown": shown,
            "errors": errors,
            "fields": list(bringing.FIELDS),
            "needed": bringing.NEEDED,
            "may_change": self.has_change_permission(request, source),
        }
        response = render(request, "admin/feedback/socialsource/inbox.html", context, status=422 if errors else 200)
        response["Cache-Control"] = "no-store"
        return response

    def _upload(self, request: HttpRequest, source: SocialSource) -> list[str]:
        file = request.FILES.get("file")
        if file is None:
            return [_("Choose a file.")]
        if file.size and file.size > bringing.MAX_FILE:
            return [_("The file is larger than 5 MB. Split it.")]
        posts, errors = bringing.read_csv(file.read())
        if not errors:
            kept = take_in(source, posts, heard_at=timezone.now())
            said = ngettext(
                "%(kept)d of %(n)d post was kept: what is new, and about the watched words.",
                "%(kept)d of %(n)d posts were kept: what is new, and about the watched words.",
                len(posts),
            )
            messages.success(request, said % {"kept": kept, "n": len(posts)})
        return errors


# ── Words ───────────────────────────────────────────────────────────────────


@admin.register(WatchTerm)
class WatchTermAdmin(PortalModelAdmin):
    list_display = ["term", "component"]
    list_select_related = ["component"]
    list_filter = [("component", admin.RelatedOnlyFieldListFilter)]
    search_fields = ["term"]
    fields = ["component", "term"]

    def formfield_for_foreignkey(self, db_field: Any, request: HttpRequest, **kwargs: Any) -> Any:
        if db_field.name == "component":
            kwargs["queryset"] = Component.objects.for_user(request.user, OPERATE).order_by("position", "name")
        return super().formfield_for_foreignkey(db_field, request, **kwargs)

    def _operates(self, request: HttpRequest, obj: WatchTerm | None) -> bool:
        mine = Component.objects.for_user(request.user, OPERATE)
        return obj is None or mine.filter(pk=obj.component_id).exists()

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return super().has_change_permission(request, obj) and self._operates(request, obj)

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return super().has_delete_permission(request, obj) and self._operates(request, obj)


# ── Posts ───────────────────────────────────────────────────────────────────


@admin.register(SocialPost)
class SocialPostAdmin(ReadOnlyAdmin):
    """What was heard about components that a person may see. Whatever anybody wrote is shown as text."""

    list_display = ["at", "mood", "said", "about", "source", "language"]
    list_filter = ["label", "language", ("components", admin.RelatedOnlyFieldListFilter), "source"]
    list_select_related = ["source"]
    search_fields = ["text"]
    date_hierarchy = "at"
    list_per_page = 50
    show_full_result_count = False
    fields = ["at", "text", "label", "score", "read_by", "language", "about", "source", "opens"]

    def get_queryset(self, request: HttpRequest) -> QuerySet[SocialPost]:
        return super().get_queryset(request).prefetch_related("components")

    def get_list_filter(self, request: HttpRequest) -> Any:
        # Names of components that a person may not see are no filter of theirs.
        mine = Component.objects.for_user(request.user).order_by()
        everything = mine.count() == Component.objects.count()
        return self.list_filter if everything else ["label", "language"]

    @admin.display(description=gettext_lazy("text"))
    def said(self, post: SocialPost) -> SafeString:
        style = "display: block; min-width: 12rem; max-width: 34rem; overflow-wrap: anywhere"
        return format_html('<span style="{}">{}</span>', style, Truncator(post.text).chars(160))

    @display(description=gettext_lazy("mood"), label=MOODS)
    def mood(self, post: SocialPost) -> tuple[str, str]:
        return post.label, str(post.get_label_display())

    @admin.display(description=gettext_lazy("about"))
    def about(self, post: SocialPost) -> str:
        return ", ".join(sorted(one.name for one in post.components.all()))

    @admin.display(description=gettext_lazy("read by"))
    def read_by(self, post: SocialPost) -> str:
        return f"{post.engine} ({post.detail})" if post.detail else post.engine

    @admin.display(description=gettext_lazy("address"), empty_value="—")
    def opens(self, post: SocialPost) -> SafeString | None:
        if not post.link:
            return None
        return format_html('<a href="{0}" class="underline" rel="noopener noreferrer nofollow">{0}</a>', post.link)
