from django.urls import path

from . import views
from .alerts import views as alerts
from .chat import views as chat

urlpatterns = [
    path("approve/<str:token>/", views.approve, name="approve"),
    path("alerts/<slug:uid>/", alerts.take, name="alerts"),
    path("chat/slack/<slug:uid>/commands/", chat.command, name="chat_command"),
    path("chat/slack/<slug:uid>/interactions/", chat.interaction, name="chat_interaction"),
]
