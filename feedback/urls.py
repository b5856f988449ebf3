from django.urls import path

from . import views

urlpatterns = [
    # incidents.publishing.SURVEY_PATH builds this address.
    path("survey/<str:token>/", views.survey, name="survey"),
]
