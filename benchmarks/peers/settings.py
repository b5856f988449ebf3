"""What the peers' settings share: a scratch database, the sink, no logging."""

import environ

env = environ.Env()
SECRET_KEY = "only-for-benchmarks"
DATABASES = {"default": env.db("DATABASE_URL")}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
DEFAULT_FROM_EMAIL = "status@example.com"
EMAIL_HOST = "127.0.0.1"
EMAIL_PORT = env.int("SINK_PORT", default=25)
USE_TZ = True
CACHES = {"default": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"}}
LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "loggers": {"mailer": {"level": "ERROR", "propagate": False}},
}
