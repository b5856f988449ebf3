"""A component on which something goes on, and a right call of every operation for it."""

from commsportal.api import api
from incidents import declaring
from incidents.models import Component, Incident, IncidentUpdate, PlanRole
from tests import make


def operations() -> dict[str, tuple[str, str]]:
    """Operation → (method, path), from the document."""
    paths = api.get_openapi_schema()["paths"]
    return {one["operationId"]: (method.upper(), path) for path, ms in paths.items() for method, one in ms.items()}


def build(word: str) -> dict[str, int]:
    """Keys of the world: an incident with one update delivered and a draft (told), one that was just declared (fresh),
    and one with nothing pending (quiet). All that only its own people may read has `word` in it.
    """
    channel = make.channel()
    plan = make.plan(channel)
    plan.stages.create(stage="resolved", locales=["en"])
    component = make.component(f"{word} payouts", "Money")
    people = make.recipients(2, component)
    author = make.incident_manager(username="author")
    PlanRole.objects.create(plan=plan, role="support_lead", user=author)
    told = make.incident(author, component, title=f"{word} payouts are late")
    published = make.published(told.updates.get())
    make.deliver()
    draft = declaring.start_draft(told, author, "identified")
    fresh = make.incident(author, component, title=f"{word} payouts again")
    quiet = make.incident(author, component, title=f"{word} payouts thrice")
    quiet.updates.get().withdraw(author)
    return {
        "component": component.pk, "told": told.pk, "fresh": fresh.pk, "quiet": quiet.pk, "published": published.pk,
        "draft": draft.pk, "plan": plan.pk, "person": people[0].pk,
    }  # fmt: skip


def calls(world: dict[str, int]) -> dict[str, tuple[str | int, dict | None]]:
    """A call of each operation that is right in itself: (what fills the path, body)."""
    component = Component.objects.get(pk=world["component"])
    told, fresh, quiet = (Incident.objects.get(pk=world[name]).uid for name in ("told", "fresh", "quiet"))
    draft = IncidentUpdate.objects.get(pk=world["draft"])
    person = {"medium": "email", "address": "new@example.com", "consent_source": "C", "consent_on": "2026-01-05"}
    return {
        "get_token": ("", None),
        "list_incidents": ("", None),
        "get_incident": (told, None),
        "declare_incident": ("", {"components": {component.uid: "major_outage"}, "even_if_open": True}),
        "dismiss_incident": (fresh, {"reason": "A mistake"}),
        "hand_over_role": (told, {"username": "author"}),
        "list_updates": ("", None),
        "get_update": (draft.pk, None),
        "check_update": (draft.pk, None),
        "start_update": (quiet, {}),
        "edit_update": (draft.pk, {"version": draft.version, "words": {"en": {"action": "Wait."}}}),
        "submit_update": (draft.pk, {}),
        "withdraw_update": (draft.pk, {}),
        "list_events": ("", None),
        "list_components": ("", None),
        "get_component": (component.uid, None),
        "list_plans": ("", None),
        "get_plan": (world["plan"], None),
        "list_subscribers": ("", None),
        "get_subscriber": (world["person"], None),
        "add_subscriber": ("", person),
        "unsubscribe": (world["person"], {}),
        "get_deliveries": (world["published"], None),
        "list_outcomes": (world["published"], None),
        "list_reports": ("", None),
        "get_report": (told, None),
    }
