"""What search engines read of a page, as JSON-LD in the words of schema.org."""

from typing import Any

from django.conf import settings
from django.utils import translation

from .facts import Overview, PublicIncident

LATEST = 5  # updates of an incident


def front_page(shown: Overview) -> dict[str, Any]:
    """https://schema.org/WebPage in the active language."""
    return {
        "@context": "https://schema.org",
        "@type": "WebPage",
        "name": settings.PORTAL_NAME,
        "description": shown.headline,
        "url": f"{settings.PORTAL_URL}/",
        "inLanguage": translation.get_language(),
        "publisher": _publisher(),
    }


def incident_page(one: PublicIncident) -> dict[str, Any]:
    """https://schema.org/LiveBlogPosting in the active language; of maintenance also when it is. Times are ISO 8601."""
    data: dict[str, Any] = {
        "@context": "https://schema.org",
        "@type": "LiveBlogPosting",
        "headline": one.incident.title,
        "url": one.url,
        "inLanguage": translation.get_language(),
        "datePublished": one.said[-1].at.isoformat(),
        "dateModified": one.updated_at.isoformat(),
        "coverageStartTime": one.said[-1].at.isoformat(),
        "publisher": _publisher(),
        "liveBlogUpdate": [
            {
                "@type": "BlogPosting",
                "headline": str(said.stage.label),
                "datePublished": said.at.isoformat(),
                "articleBody": said.words["text"],
                "inLanguage": said.words["lang"],
                "url": f"{one.url}#update-{said.number}",
            }
            for said in one.said[:LATEST]
        ],
    }
    if one.is_over:
        data["coverageEndTime"] = one.updated_at.isoformat()
    if one.incident.maintenance:
        when = {"startDate": one.scheduled_for.isoformat(), "endDate": one.scheduled_until.isoformat()}
        data["about"] = {"@type": "Event", "name": one.incident.title, **when}
    return data


def _publisher() -> dict[str, str]:
    return {"@type": "Organization", "name": settings.PORTAL_NAME, "url": f"{settings.PORTAL_URL}/"}
