"""A review from its first draft to what customers read of it."""

from collections.abc import Mapping
from typing import Any

from django.conf import settings
from django.db import transaction
from django.utils import translation
from django.utils.translation import gettext as _

from incidents import declaring
from incidents.errors import Refused, WrongState
from incidents.models import Component, Decision, Incident, IncidentUpdate, Stage

from .drafting import draft
from .models.review import FIRST_CHOICE, LONGEST, PARTS, CommunicationReview, check_may_write


def start(incident: Incident, by: Any, locale: str) -> CommunicationReview:
    """Draft the review of an incident that is over, from its facts.

    Raises NotAllowed, WrongState (there is one, or it is not over), Refused (an unknown language).
    """
    if locale not in dict(settings.LANGUAGES):
        raise Refused(_("“%(language)s” is no language of this portal.") % {"language": locale[:20]})
    with transaction.atomic():
        incident = Incident.objects.select_for_update(no_key=True).get(pk=incident.pk)
        check_may_write(by, incident)
        if incident.maintenance or not incident.is_over:
            raise WrongState(_("A review is written of an incident that is over."))
        if CommunicationReview.objects.filter(incident=incident).exists():
            raise WrongState(_("Somebody has begun the review of this incident already."))
        texts = draft(incident, locale)
        review = CommunicationReview(
            incident=incident, locale=locale, drafted=texts, texts=dict(texts), shown=list(FIRST_CHOICE)
        )
        review._history_user = by
        review.save()
    return review


def start_update(review: CommunicationReview, by: Any) -> IncidentUpdate:
    """Begin the update by which customers read the review on the status page: it goes the way of every update, so a
    second person approves it, who wrote no word of the review either.

    Nobody is notified unless the writer of the update says so. Raises NotAllowed, WrongState, Refused.
    """
    with transaction.atomic():
        # In the order in which updates lock.
        incident = Incident.objects.select_for_update(no_key=True).get(pk=review.incident_id)
        me = review._locked()
        if me.state != CommunicationReview.State.FINAL:
            raise WrongState(_("Finish the review first: customers read what somebody answers for."))
        if me.pending:
            raise WrongState(_("An update with these words is on its way to customers already."))
        if incident.updates.filter(status__in=IncidentUpdate.PENDING, publish_at=None).exists():
            raise WrongState(_("Another update is being written: publish or withdraw it first."))
        words = for_customers(me)
        _check_names(me, words)
        update = declaring.start_draft(incident, by, Stage.POSTMORTEM)
        # Of languages in which it is not written there is nothing: the checker asks for them.
        empty: dict[str, dict[str, str]] = {
            text.locale: {} for text in update.renditions.all() if text.locale not in words
        }
        update.edit(by, update.version, {**empty, **words}, channels=[], segments=[], notify=False)
        for writer in me.writers():
            if writer.pk != by.pk:
                update._record(writer, Decision.Verb.EDIT, _("wrote it in the communication review"))
        me.update = update
        me._save(by)
    review.refresh_from_db()
    return update


def for_customers(review: CommunicationReview) -> dict[str, dict[str, str]]:
    """{language: {"subject", "issue"}} of what customers are to read. Raises Refused.

    In other languages than its own only where all of that stands as the facts said it, and they still say so.
    """
    if not any(review.texts.get(part) for part in review.shown):
        raise Refused(_("Choose at least one part that customers are to read."))
    found = {review.locale: _words(review, review.texts, review.locale)}
    if len(found[review.locale]["issue"]) > LONGEST:
        raise Refused(
            _("What customers are to read has %(n)d characters; the most are %(most)d. Choose fewer parts.")
            % {"n": len(found[review.locale]["issue"]), "most": LONGEST}
        )
    now = draft(review.incident, review.locale)
    if all(now[part] == review.drafted.get(part) == review.texts.get(part) for part in review.shown):
        for locale, _name in settings.LANGUAGES:
            if locale != review.locale:
                found[locale] = _words(review, draft(review.incident, locale), locale)
    plan = review.incident.plan_version
    wanted = plan.locales(Stage.POSTMORTEM) if plan else [settings.LANGUAGE_CODE]
    return {locale: words for locale, words in found.items() if locale in (*wanted, review.locale)}


def _words(review: CommunicationReview, texts: Mapping[str, str], locale: str) -> dict[str, str]:
    with translation.override(locale):
        parts = [(str(PARTS[part]), texts[part]) for part in PARTS if part in review.shown and texts.get(part)]
        subject = _("Review: %(title)s") % {"title": review.incident.title}
    issue = parts[0][1] if len(parts) == 1 else "\n\n".join(f"#### {title}\n\n{text}" for title, text in parts)
    return {"subject": subject[:200], "issue": issue}


def _check_names(review: CommunicationReview, words: Mapping[str, Mapping[str, str]]) -> None:
    """Of an incident that everybody reads of, no private component is named. Raises Refused."""
    own = list(Component.objects.filter(incidents=review.incident_id))
    if all(one.private for one in own):
        return  # it stands on private pages alone
    said = " ".join(text["issue"] for text in words.values()).casefold()
    named = [one.name for one in own if one.private and one.name.casefold() in said]
    if named:
        raise Refused(
            _("What customers are to read names %(names)s, which is private: take it out.")
            % {"names": ", ".join(named)}
        )
