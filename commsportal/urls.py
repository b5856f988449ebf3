from django.contrib import admin
from django.urls import include, path

from . import health
from .api import api

urlpatterns = [
    path("livez", health.livez, name="livez"),
    path("readyz", health.readyz, name="readyz"),
    path("admin/", admin.site.urls),
    path("api/v1/", api.urls),
    path("i18n/", include("django.conf.urls.i18n")),
    path("", include("channels.urls")),
    path("", include("feedback.urls")),
    path("", include("incidents.urls")),
    path("", include("incidents.statuspage.urls")),
]
