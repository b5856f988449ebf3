from django.urls import URLPattern, path

from . import api, badges, calendar, feeds, subscribe, views

urlpatterns: list[URLPattern] = [
    path("", views.index, name="status"),
    path("incidents/<slug:uid>/", views.incident, name="status-incident"),
    path("pictures/<str:name>", views.picture, name="status-picture"),
    path("history/", views.history, name="status-history"),
    path("subscribe/", subscribe.subscribe, name="subscribe"),
    path("push-worker.js", subscribe.push_worker, name="push-worker"),
    path("subscribe/sent/", subscribe.sent, name="subscribe-sent"),
    path("subscribe/confirm/<str:token>/", subscribe.confirm, name="subscribe-confirm"),
    path("subscription/<str:token>/", subscribe.manage, name="subscription"),
    *(path(f"history.{kind}", feeds.view, {"kind": kind}, name=f"status-{kind}") for kind in feeds.FEEDS),
    path("badge.svg", badges.view, name="status-badge"),
    path("badge/<slug:uid>.svg", badges.view, name="status-component-badge"),
    path("maintenance.ics", calendar.view, name="status-calendar"),
    *(path(f"api/v2/{name}.json", api.view, {"name": name}, name=f"api-{name}") for name in api.DOCUMENTS),
]
