from django.urls import path

from . import views
from .social import views as social

urlpatterns = [
    # incidents.publishing.SURVEY_PATH builds this address.
    path("survey/<str:token>/", views.survey, name="survey"),
    path("social/<slug:uid>/", social.take, name="social"),
]
