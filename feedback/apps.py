from django.apps import AppConfig
from django.utils.translation import gettext_lazy as _


class FeedbackConfig(AppConfig):
    name = "feedback"
    verbose_name = _("Feedback")

    def ready(self) -> None:
        from django.db.models.signals import post_migrate

        from channels.erasing import erases
        from incidents.asking import ask

        from .forgetting import erase
        from .surveys import Asker, ship

        erases(erase)
        ask(Asker())
        post_migrate.connect(ship, sender=self)
