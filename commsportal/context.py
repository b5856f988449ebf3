from typing import Any

from django.conf import settings
from django.http import HttpRequest
from django.utils.translation import gettext_noop as _

# For gettext to find: `./run` reads the demo's people without Django.
ROLES = (
    _("Incident manager"),
    _("Communications manager"),
    _("Support lead"),
    _("Manager"),
    _("Administrator"),
)


def portal(request: HttpRequest) -> dict[str, Any]:
    """Names that every page may show. The demo's logins only while it is one."""
    names = {
        "portal_name": settings.PORTAL_NAME,
        "portal_url": settings.PORTAL_URL,
        "portal_demo": settings.PORTAL_DEMO,
    }
    if settings.PORTAL_DEMO:
        from .demo import DEMO_LOGINS, DEMO_PASSWORD

        names |= {"demo_logins": DEMO_LOGINS, "demo_password": DEMO_PASSWORD}
    return names
