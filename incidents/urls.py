from django.urls import path

from . import views

urlpatterns = [path("approve/<str:token>/", views.approve, name="approve")]
