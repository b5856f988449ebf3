from django.urls import URLPattern, URLResolver, include, path

from . import api, badges, brand, calendar, feeds, private, subscribe, views

# What a private page has too, below its own address; templates put `scope.base` before what {% url %} gives them.
_pages: list[URLPattern] = [
    path("", views.index, name="status"),
    path("incidents/<slug:uid>/", views.incident, name="status-incident"),
    path("history/", views.history, name="status-history"),
    path("history/<int:number>/", views.history, name="status-history"),
    *(path(f"history.{kind}", feeds.view, {"kind": kind}, name=f"status-{kind}") for kind in feeds.FEEDS),
    path("maintenance.ics", calendar.view, name="status-calendar"),
    *(path(f"api/v2/{name}.json", api.view, {"name": name}, name=f"api-{name}") for name in api.DOCUMENTS),
]
_subscribing = [
    path("subscribe/", subscribe.subscribe, name="subscribe"),
    path("subscribe/sent/", subscribe.sent, name="subscribe-sent"),
]
urlpatterns: list[URLPattern | URLResolver] = [
    *_pages,
    *_subscribing,
    path("pictures/<str:name>", views.picture, name="status-picture"),
    path("push-worker.js", subscribe.push_worker, name="push-worker"),
    path("subscribe/confirm/<str:token>/", subscribe.confirm, name="subscribe-confirm"),
    path("subscription/<str:token>/", subscribe.manage, name="subscription"),
    path("brand.css", brand.view, name="status-brand"),
    path("badge.svg", badges.view, name="status-badge"),
    path("badge/<slug:uid>.svg", badges.view, name="status-component-badge"),
    path("private/login/", private.Login.as_view(), name="private-login"),
    path("private/logout/", private.logout, name="private-logout"),
    path("private/<str:key>/", include(([*_pages, *_subscribing], "private"))),
]
