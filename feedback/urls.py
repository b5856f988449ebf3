from django.urls import path

from . import report_mail_views, views, voting_views
from .social import views as social

urlpatterns = [
    # incidents.publishing.SURVEY_PATH builds this address.
    path("survey/<str:token>/", views.survey, name="survey"),
    # As does CLEAR_PATH.
    path("clear/page/<slug:uid>/<int:number>/", voting_views.on_page, name="clear-on-page"),
    path("clear/<str:token>/", voting_views.by_link, name="clear"),
    path("clear/<str:token>/<slug:answer>/", voting_views.by_link, name="clear"),
    path("social/<slug:uid>/", social.take, name="social"),
    path("report-mail/<str:token>/", report_mail_views.stop, name="report_mail_stop"),
]
