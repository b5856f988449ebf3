from django.urls import path

from . import views
from .alerts import views as alerts

urlpatterns = [
    path("approve/<str:token>/", views.approve, name="approve"),
    path("alerts/<slug:uid>/", alerts.take, name="alerts"),
]
