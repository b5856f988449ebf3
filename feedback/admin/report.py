"""The managers' reports."""

from dataclasses import replace
from typing import Any
from urllib.parse import urlencode

from django.contrib import admin
from django.core.paginator import Paginator
from django.http import HttpRequest, HttpResponse, HttpResponseNotAllowed
from django.http.response import HttpResponseBase
from django.shortcuts import render
from django.urls import URLPattern, path, reverse
from django.utils import formats, timezone
from django.utils.translation import gettext as _t
from django.utils.translation import gettext_lazy as _

from commsportal.admin import ReadOnlyAdmin
from feedback import charts, exports, improving, reports, results, screening, suggesting, tiles, wording
from feedback.forms import ALL, PERIODS, Period, ReportForm
from feedback.models import QUESTIONS, Report, SocialPost, SurveyAnswer, SurveyVersion, WatchTerm
from feedback.people import people
from feedback.reports import IncidentFacts, Summary
from feedback.social import curve as social_curve
from feedback.social.sentiment import Label
from feedback.tiles import SHORT
from incidents.admin.refusal import refused
from incidents.errors import NotAllowed, WrongState

from . import evidence as evidence_admin
from . import report_mail as report_mail_admin
from . import review as review_admin
from .action import done
from .survey import headings, table

PAGE_SIZE = 50
COMMENTS = 100
SAID = 10


# What the table can be sorted by; None is the lowest.
SORTS: dict[str, Any] = {
    "started": lambda f: f.started_at,
    "severity": lambda f: f.severity,
    "first": lambda f: f.first_from_start,
    "updates": lambda f: len(f.updates),
    "late": lambda f: f.late,
    "cadence": lambda f: f.cadence,
    "gap": lambda f: f.longest_gap,
    "reached": lambda f: f.reach.rate,
    "clarity": lambda f: f.survey.mean("clear"),
    "duration": lambda f: f.duration,
}


@admin.register(Report)
class ReportAdmin(ReadOnlyAdmin):
    """Reports have pages instead of a list and a form."""

    def get_urls(self) -> list[URLPattern]:
        def view(method: Any) -> Any:
            return self.admin_site.admin_view(self._guarded(method))

        return [
            path("", view(self.over_time), name="feedback_report"),
            # The name by which the admin's own lists link a model.
            path("", view(self.over_time), name="feedback_report_changelist"),
            path("csv/", view(self.over_time_csv), name="feedback_report_csv"),
            path("improve/", view(self.improve), name="feedback_report_improve"),
            path("mail/", view(self.mail), name="feedback_report_mail"),
            path("<int:pk>/", view(self.incident), name="feedback_report_incident"),
            path("<int:pk>/csv/", view(self.incident_csv), name="feedback_report_incident_csv"),
            path("<int:pk>/evidence/", view(self.evidence), name="feedback_report_evidence"),
            path("<int:pk>/review/", view(self.review), name="feedback_report_review"),
        ]

    def get_queryset(self, request: HttpRequest) -> Any:
        return super().get_queryset(request).not_dismissed()  # type: ignore[attr-defined]

    def _guarded(self, method: Any) -> Any:
        """The view, behind the permission; a refusal is a page that says what to do."""

        def guarded(request: HttpRequest, **kwargs: Any) -> HttpResponseBase:
            if not self.has_view_permission(request):
                text = _t("You may not read reports. Ask an administrator for the role “Managers”.")
                return refused(request, NotAllowed(text))
            try:
                return method(request, **kwargs)
            except Report.DoesNotExist:
                text = _t("There is no such incident, or it is on a component that you do not see.")
                context = self._context(request, _t("Not found")) | {"error": text}
                context["back"] = reverse("admin:feedback_report")
                return render(request, "admin/incidents/refused.html", context, status=404)

        return guarded

    # ── Over time ──

    def over_time(self, request: HttpRequest) -> HttpResponse:
        form = self._form(request)
        context = self._context(request, _t("Communication report")) | {"form": form, "periods": PERIODS}
        if not form.is_valid():
            return render(request, "admin/feedback/report/over_time.html", context, status=400)
        period, now_facts, before = self._compare(form)
        summary = reports.summarise(now_facts)
        suggested = suggesting.suggestions(now_facts, summary)
        rows, sort = _sorted(now_facts, request.GET.get("sort", ""))
        page = Paginator(rows, PAGE_SIZE).get_page(request.GET.get("page"))
        context |= {
            "period": period,
            "sentence": wording.period_sentence(summary),
            "summary": summary,
            "tiles": tiles.tiles(summary, before),
            "suggestions": suggested,
            "taken_up": improving.taken_up(suggested) if suggested else {},
            "may_act": request.user.has_perm("feedback.add_improvementaction"),  # type: ignore[union-attr]
            "charts": _trend_charts(now_facts, period) if now_facts else [],
            "channels": summary.channels,
            "page": page,
            "columns": _columns(request, sort),
            "assumed": sum(one.assumed for one in now_facts),
            "imported": sum(one.imported for one in now_facts),
            "default_minutes": reports.DEFAULT_MINUTES,
            "anything": bool(now_facts) or self.get_queryset(request).exists(),
            "query": _query(request, page=None),
            "csv_query": _query(request, page=None, sort=None),
            "mail_query": _query(request, page=None, sort=None, period=None, first=None, last=None),
        }
        return render(request, "admin/feedback/report/over_time.html", context)

    def improve(self, request: HttpRequest) -> HttpResponse:
        """POST takes up what the figures of this period suggest: counted again, and not taken from the form."""
        if request.method != "POST":
            return HttpResponseNotAllowed(["POST"])
        form = self._form(request)
        if not form.is_valid():
            return self.over_time(request)
        period, facts, _before = self._compare(form)
        found = suggesting.suggestions(facts, reports.summarise(facts))
        wanted = next((one for one in found if one.key == request.POST.get("key")), None)
        if wanted is None:
            return refused(request, WrongState(_t("The figures do not say this any more. Read the report again.")))
        span = f"{formats.date_format(period.first, _t('j M Y'))} – {formats.date_format(period.last, _t('j M Y'))}"
        return done(request, lambda: improving.from_suggestion(wanted, span, request.user))

    def over_time_csv(self, request: HttpRequest) -> HttpResponse:
        form = self._form(request)
        if not form.is_valid():
            return self.over_time(request)
        period, chosen = form.selected()
        name = f"communication-report-{period.first}-{period.last}"
        return exports.over_time(name, reports.gather(period.of(chosen), channel=form.cleaned_data["channel"]))

    def mail(self, request: HttpRequest) -> HttpResponse:
        return report_mail_admin.page(request, self._context(request, _t("Reports by email")))

    def _form(self, request: HttpRequest) -> ReportForm:
        return ReportForm(request.GET, request.user, self.get_queryset(request))

    def _compare(self, form: ReportForm) -> tuple[Period, list[IncidentFacts], Summary | None]:
        """The period, its facts, and the summary of the one before; both periods are read at once."""
        period, chosen = form.selected()
        if form.cleaned_data["period"] == ALL:
            return period, reports.gather(period.of(chosen), channel=form.cleaned_data["channel"]), None
        before = period.before()
        facts = reports.gather(Period(before.first, period.last).of(chosen), channel=form.cleaned_data["channel"])
        current = [one for one in facts if timezone.localdate(one.started_at) >= period.first]
        return period, current, reports.summarise(facts[len(current) :])

    # ── One incident ──

    def incident(self, request: HttpRequest, pk: int) -> HttpResponse:
        incident, one = self._one(request, pk)
        summary = reports.summarise([one])
        answers = SurveyAnswer.objects.filter(incident=incident).exclude(texts={}).select_related("version")
        comments = [said(one) for one in answers[: COMMENTS + 1]]
        context = self._context(request, _t("Communication report")) | self._social(request, incident, one)
        context |= {
            "incident": incident,
            "one": one,
            "summary": summary,
            "sentence": wording.incident_sentence(one, summary),
            "people": people(incident),
            "timeline": charts.timeline(one, timezone.now()),
            "bars": [_reach_bar(reach) for reach in one.channels],
            "scores": [_score_bar(one, question) for question in QUESTIONS] if one.survey.answered else [],
            "comments": comments[:COMMENTS],
            "more_comments": len(comments) > COMMENTS,
            "votes": results.grouped(results.of_votes(self.get_queryset(request).filter(pk=pk))),
            **self._survey_table(request, pk),
            "review": review_admin.card(request, incident),
            "may_take_evidence": request.user.has_perm("feedback.take_evidencepack"),  # type: ignore[union-attr]
            "default_minutes": reports.DEFAULT_MINUTES,
        }
        return render(request, "admin/feedback/report/incident.html", context)

    def _survey_table(self, request: HttpRequest, pk: int) -> dict[str, Any]:
        """The scores of an incident by channel and language, of the version that was answered last."""
        version = SurveyVersion.objects.filter(answers__incident=pk).order_by("-pk").first()
        if version is None:
            return {}
        found = results.of_survey(version, self.get_queryset(request).filter(pk=pk))
        rows = [row for row in found.rows if row.kind not in ("", "incident")]
        return {
            "groups": table(replace(found, rows=rows)),
            "questions": headings(version),
            "shares": [share for share in found.shares if share < 100],
        }

    def _social(self, request: HttpRequest, incident: Any, one: IncidentFacts) -> dict[str, Any]:
        """What was said in public, of what this person may see; nothing where nobody listens."""
        if not request.user.has_perm("feedback.view_socialpost"):  # type: ignore[union-attr]
            return {}
        posts = SocialPost.objects.for_user(request.user)
        updates = [(u.at, _t("Update %(number)s") % {"number": u.number}) for u in one.updates]
        found = social_curve.curve(incident, posts, updates, timezone.now())
        if found is None and not WatchTerm.objects.exists():
            return {}
        said = posts.of_incident(incident).filter(label=Label.NEGATIVE)[:SAID] if found else []
        return {"hears": True, "curve": found, "said": list(said)}

    def incident_csv(self, request: HttpRequest, pk: int) -> HttpResponse:
        incident, one = self._one(request, pk)
        answers = SurveyAnswer.objects.filter(incident=incident).order_by("at", "id")
        summary = reports.summarise([one])
        return exports.incident(f"incident-report-{pk}", one, summary, people(incident), answers)

    def evidence(self, request: HttpRequest, pk: int) -> HttpResponseBase:
        incident = self.get_queryset(request).get(pk=pk)
        return evidence_admin.page(request, incident, self._context(request, _t("Evidence")))

    def review(self, request: HttpRequest, pk: int) -> HttpResponse:
        incident = self.get_queryset(request).get(pk=pk)
        return review_admin.page(request, incident, self._context(request, _t("Communication review")))

    def _one(self, request: HttpRequest, pk: int) -> tuple[Any, IncidentFacts]:
        incidents = self.get_queryset(request).filter(pk=pk)
        incident = incidents.select_related("communication_review__update").get()
        [one] = reports.gather(incidents)
        return incident, one

    def _context(self, request: HttpRequest, title: str) -> dict[str, Any]:
        request.current_app = self.admin_site.name  # type: ignore[attr-defined]
        return {
            **self.admin_site.each_context(request),
            "title": title,
            "model_admin": self,
            "may_act": request.user.has_perm("feedback.add_improvementaction"),  # type: ignore[union-attr]
            "may_read_answers": request.user.has_perm("feedback.view_surveyanswer"),  # type: ignore[union-attr]
        }


# ── Parts of the pages ──────────────────────────────────────────────────────


def _query(request: HttpRequest, **changes: str | None) -> str:
    """The query string with some parameters changed or (None) left out."""
    known = request.GET.dict() | changes
    return urlencode({key: value for key, value in known.items() if value})


def _sorted(facts: list[IncidentFacts], wanted: str) -> tuple[list[IncidentFacts], str]:
    """The facts in the wanted order and its name; incidents without the figure come last."""
    name, down = wanted.removeprefix("-"), wanted.startswith("-")
    if name not in SORTS:
        return facts, "-started"
    key = SORTS[name]
    known = sorted((one for one in facts if key(one) is not None), key=key, reverse=down)
    return known + [one for one in facts if key(one) is None], wanted


def _columns(request: HttpRequest, sort: str) -> list[dict[str, Any]]:
    """Heading, link and direction of each column of the table."""
    titles = {
        "started": _("Started"),
        "": _("Incident"),
        "severity": _("Severity"),
        "duration": _("Lasted"),
        "first": _("First update"),
        "updates": _("Updates"),
        "late": _("Late"),
        "cadence": _("Gaps kept"),
        "gap": _("Longest gap"),
        "reached": _("Reached"),
        "clarity": _("Clarity"),
    }
    columns = []
    for name, title in titles.items():
        active = name and sort.removeprefix("-") == name
        down = active and sort.startswith("-")
        link = _query(request, page=None, sort=name if down else f"-{name}") if name else ""
        order = ("descending" if down else "ascending") if active else ""
        columns.append(
            {"title": title, "link": link, "order": order, "number": name not in ("started", "", "severity")}
        )
    return columns


def _trend_charts(facts: list[IncidentFacts], period: Period) -> list[charts.Chart]:
    weekly, points = reports.trend(facts, period.first, period.last)
    labels = [formats.date_format(p.start, _t("j M") if weekly else _t("M Y")) for p in points]
    by = _t("by week") if weekly else _t("by month")
    shares = [(n / 4, wording.percent(n / 4)) for n in range(5)]
    first = [p.summary.first_from_start for p in points]
    found = [
        (_t("Time to first update"), {_t("Median"): first}, wording.duration, charts.time_ticks(first)),
        (_t("Gaps kept"), {_t("Share"): [p.summary.cadence for p in points]}, wording.percent, shares),
        (_t("Messages that reached people"), {_t("Share"): _rates(points)}, wording.percent, shares),
        (
            _t("Survey scores"),
            {str(label): [p.summary.survey.mean(q) for p in points] for q, label in SHORT.items()},
            wording.score,
            [(float(n), str(n)) for n in range(1, 6)],
        ),
    ]
    return [
        charts.line_chart(f"cp-chart-{n}", f"{title}, {by}", _described(title, series, write), labels, series, write, t)
        for n, (title, series, write, t) in enumerate(found, 1)
    ]


def said(answer: SurveyAnswer) -> dict[str, Any]:
    """An answer with words as the page shows it: screened, with its scores in the order of the questions."""
    scores = [str(answer.given[one["key"]]) for one in answer.version.scales if one["key"] in answer.given]
    return {"answer": answer, "texts": screening.screened(answer).values(), "scores": "/".join(scores)}


def _rates(points: list[reports.Point]) -> list[float | None]:
    return [p.summary.reach.rate for p in points]


def _described(title: str, series: dict[str, list[float | None]], write: Any) -> str:
    """What the picture shows, in a sentence: the first and the last known value of each line."""
    parts = []
    for name, values in series.items():
        known = [value for value in values if value is not None]
        if known:
            words = _t("%(name)s: from %(first)s to %(last)s, lowest %(low)s, highest %(high)s.")
            values_in_words = {
                "first": write(known[0]),
                "last": write(known[-1]),
                "low": write(min(known)),
                "high": write(max(known)),
            }
            parts.append(words % {"name": name, **values_in_words})
    return " ".join(parts) or title


def _reach_bar(reach: reports.Reach) -> dict[str, Any]:
    parts = [
        ("reached", _t("reached"), reach.reached),
        ("failed", _t("failed"), reach.failed),
        ("unknown", _t("not known whether sent"), reach.unknown),
        ("skipped", _t("not sent"), reach.skipped),
    ]
    return {"reach": reach, "bar": charts.bar(reach.channel, parts)}


def _score_bar(one: IncidentFacts, question: str) -> dict[str, Any]:
    counts = one.survey.scores[question]
    parts = [(f"score{n}", _t("%(score)s of 5") % {"score": n}, count) for n, count in enumerate(counts, 1)]
    label = str(QUESTIONS[question])
    return {"bar": charts.bar(label, parts), "mean": one.survey.mean(question), "counts": counts}
