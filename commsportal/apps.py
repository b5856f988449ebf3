import logging

from django.apps import AppConfig
from django.contrib.admin.apps import AdminConfig
from django.core.exceptions import PermissionDenied


def in_one_line(record: logging.LogRecord) -> bool:
    """That somebody may not do something is a rule at work, no crash: a line names the page, without a traceback."""
    if record.exc_info and isinstance(record.exc_info[1], PermissionDenied):
        record.exc_info = None
    return True


class PortalAdminConfig(AdminConfig):
    default_site = "commsportal.site.PortalAdminSite"


class CommsportalConfig(AppConfig):
    name = "commsportal"

    def ready(self) -> None:
        logging.getLogger("django.request").addFilter(in_one_line)
