import os

from django.core.wsgi import get_wsgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "commsportal.settings")
_django = get_wsgi_application()

from django.conf import settings  # noqa: E402 - Django first
from django.utils.module_loading import import_string  # noqa: E402

from .slow import SlowBodies  # noqa: E402

application = SlowBodies(import_string(settings.WSGI_OUTERMOST)(_django))
