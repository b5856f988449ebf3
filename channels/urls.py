from django.urls import path

from . import in_app, views, webhooks

urlpatterns = [
    path("outbox/", views.outbox, name="outbox"),
    path("outbox/<slug:name>/", views.outbox, name="outbox_message"),
    path("outbox/<slug:name>/html/", views.outbox_html, name="outbox_html"),
    path("unsubscribe/<str:token>/", views.unsubscribe, name="unsubscribe"),
    path("api/in-app.json", in_app.view, name="in_app"),
    path("in-app.js", in_app.script, name="in_app_script"),
    path("demo/product/", in_app.product, name="in_app_product"),
    path("in-app/seen", in_app.seen, name="in_app_seen"),
    path("events/receipts/<int:channel_id>/", webhooks.receipt, name="receipt"),
    path("events/sns/<int:channel_id>/", webhooks.sns_events, name="sns_events"),
]
