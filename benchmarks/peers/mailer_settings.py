from .settings import *  # noqa: F403

INSTALLED_APPS = ["django.contrib.contenttypes", "mailer"]
EMAIL_BACKEND = "mailer.backend.DbBackend"
MAILER_EMAIL_BACKEND = "django.core.mail.backends.smtp.EmailBackend"
MAILER_MESSAGES_BATCH_SIZE = 1000
MAILER_USE_FILE_LOCK = False
