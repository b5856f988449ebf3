from django.apps import AppConfig


class CommsportalConfig(AppConfig):
    name = "commsportal"
