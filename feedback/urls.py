from django.urls import path

from . import report_mail_views, views

urlpatterns = [
    # incidents.publishing.SURVEY_PATH builds this address.
    path("survey/<str:token>/", views.survey, name="survey"),
    path("report-mail/<str:token>/", report_mail_views.stop, name="report_mail_stop"),
]
