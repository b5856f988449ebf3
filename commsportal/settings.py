"""Every setting of the portal, read from the environment. README.md has the table."""

from contextlib import suppress
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import environ
from csp.constants import NONCE, NONE, SELF, UNSAFE_EVAL, UNSAFE_INLINE
from django.core.exceptions import ImproperlyConfigured
from django.urls import reverse_lazy
from django.utils.translation import gettext_lazy as _

from .broker import broker

env = environ.Env()
BASE_DIR = Path(__file__).resolve().parent.parent
DATA_DIR = Path(env("DATA_DIR", default=str(BASE_DIR / ".data")))
with suppress(OSError):  # where it may not be written, nothing may be needed of it
    DATA_DIR.mkdir(parents=True, exist_ok=True)

# ── Identity ────────────────────────────────────────────────────────────────
PORTAL_NAME = env("PORTAL_NAME", default="Commsportal")
PORTAL_URL = env("PORTAL_URL", default="http://127.0.0.1:8000").rstrip("/")
# How the status page looks: a file, and "#rrggbb" by day and by night (statuspage/brand.py checks them).
PORTAL_LOGO = env("PORTAL_LOGO", default="")
PORTAL_COLOUR = env("PORTAL_COLOUR", default="")
PORTAL_COLOUR_DARK = env("PORTAL_COLOUR_DARK", default="")
DEFAULT_FROM_EMAIL = env("DEFAULT_FROM_EMAIL", default="status@example.com")
# The demo shows its own logins and tour on the login page and the dashboard.
PORTAL_DEMO = env.bool("PORTAL_DEMO", default=False)

# ── Security ────────────────────────────────────────────────────────────────
SECRET_KEY = env("SECRET_KEY", default="")
_key_file = DATA_DIR / "secret.key"
if not SECRET_KEY and _key_file.exists():
    SECRET_KEY = _key_file.read_text().strip()
if not SECRET_KEY:
    raise ImproperlyConfigured("SECRET_KEY is not set: export SECRET_KEY=<50 random characters>, or use ./run.")
# Keys that encrypt channel credentials at rest, newest first; empty means one derived from SECRET_KEY.
FIELD_KEYS = env.list("FIELD_KEYS", default=[])
DEBUG = env.bool("DEBUG", default=False)
ALLOWED_HOSTS = env.list("ALLOWED_HOSTS", default=["127.0.0.1", "localhost", "[::1]"])
CSRF_TRUSTED_ORIGINS = env.list("CSRF_TRUSTED_ORIGINS", default=[])
_https = PORTAL_URL.startswith("https://")
SECURE_SSL_REDIRECT = env.bool("SECURE_SSL_REDIRECT", default=_https)
SECURE_REDIRECT_EXEMPT = [r"^(livez|readyz)$"]  # probes come from inside, in plain HTTP
SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https") if env.bool("BEHIND_PROXY", default=False) else None
SECURE_HSTS_SECONDS = env.int("SECURE_HSTS_SECONDS", default=31536000 if _https else 0)
# Subdomains and preload lists are for the domain's owner to decide; previews are frames of our own pages.
SILENCED_SYSTEM_CHECKS = ["security.W005", "security.W021", "security.W019"]
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = _https
SECURE_REFERRER_POLICY = "same-origin"
X_FRAME_OPTIONS = "SAMEORIGIN"
_policy: dict[str, list[Any]] = {
    "default-src": [SELF],
    "img-src": [SELF, "data:"],
    "script-src": [SELF, NONCE],
    "style-src": [SELF, NONCE],
    "object-src": [NONE],
    "base-uri": [NONE],
    "form-action": [SELF],
    "frame-ancestors": [SELF],
}
CONTENT_SECURITY_POLICY = {"DIRECTIVES": _policy}
# The admin theme evaluates expressions in attributes (Alpine) and styles inline; only /admin/ gets this policy.
ADMIN_CSP = _policy | {
    "script-src": [SELF, UNSAFE_EVAL, UNSAFE_INLINE],
    "style-src": [SELF, UNSAFE_INLINE],
}

# ── Applications ────────────────────────────────────────────────────────────
INSTALLED_APPS = [
    "commsportal.apps.CommsportalConfig",
    "unfold.apps.BasicAppConfig",
    "unfold.contrib.filters",
    "unfold.contrib.forms",
    "unfold.contrib.guardian",
    "unfold.contrib.simple_history",
    "commsportal.apps.PortalAdminConfig",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "csp",
    "guardian",
    "simple_history",
    "django_q",
    "allauth",
    "allauth.account",  # without it there is no allauth.mfa; none of its pages is served
    "allauth.mfa",
    "channels",
    "incidents",
    "feedback",
]
MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "commsportal.middleware.PortalCSPMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.locale.LocaleMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "allauth.account.middleware.AccountMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "simple_history.middleware.HistoryRequestMiddleware",
    "commsportal.middleware.UnstorableDataMiddleware",
]
ROOT_URLCONF = "commsportal.urls"
WSGI_APPLICATION = "commsportal.wsgi.application"
# The layer outside of Django that answers readers of the status page.
WSGI_OUTERMOST = "incidents.statuspage.live.LivePage"
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
                "django.template.context_processors.i18n",
                "csp.context_processors.nonce",
                "commsportal.context.portal",
            ],
        },
    }
]
AUTHENTICATION_BACKENDS = ["django.contrib.auth.backends.ModelBackend", "guardian.backends.ObjectPermissionBackend"]
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": f"django.contrib.auth.password_validation.{name}"}
    for name in ("UserAttributeSimilarityValidator", "MinimumLengthValidator", "CommonPasswordValidator")
]
ANONYMOUS_USER_NAME = None
LOGIN_URL = reverse_lazy("admin:login")
LOGIN_REDIRECT_URL = reverse_lazy("admin:index")
# The second step of the login: for whoever has set it up, or, if "required", for all who hold one of these permissions.
# Who may change people is among them: they take lost factors from others.
STAFF_MFA = env("STAFF_MFA", default="optional").strip().lower()
if STAFF_MFA not in ("optional", "required"):
    raise ImproperlyConfigured(f"STAFF_MFA is “{STAFF_MFA}”: write optional or required.")
SECOND_FACTOR_FOR = ["incidents.approve_incidentupdate", "incidents.publish_incidentupdate", "auth.change_user"]
ACCOUNT_ADAPTER = "commsportal.mfa.NoAccounts"
ACCOUNT_EMAIL_VERIFICATION = "none"
MFA_ADAPTER = "commsportal.mfa.Factors"
MFA_SUPPORTED_TYPES = ["totp", "webauthn", "recovery_codes"]
MFA_ALLOW_UNVERIFIED_EMAIL = True  # people are made by administrators: nobody signs up
MFA_REAUTHENTICATION_REQUIRED = False  # our pages ask for the password themselves
MFA_TOTP_ISSUER = PORTAL_NAME
MFA_TOTP_TOLERANCE = 1  # a code of half a minute ago is good too: clocks differ (RFC 6238, 5.2)
ALLAUTH_TRUSTED_PROXY_COUNT = 1 if SECURE_PROXY_SSL_HEADER else 0
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

# ── Database, cache, queue ──────────────────────────────────────────────────
DATABASES = {"default": env.db("DATABASE_URL", default=f"sqlite:///{DATA_DIR / 'portal.sqlite3'}")}
if DATABASES["default"]["ENGINE"].endswith("sqlite3"):
    # With SQLite's defaults 48 of 500 concurrent writes failed with "database is locked".
    DATABASES["default"]["OPTIONS"] = {
        "transaction_mode": "IMMEDIATE",
        "timeout": 20,
        "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL; PRAGMA foreign_keys=ON;",
    }
else:
    DATABASES["default"]["CONN_MAX_AGE"] = env.int("CONN_MAX_AGE", default=60)
    DATABASES["default"]["CONN_HEALTH_CHECKS"] = True
CACHES = {"default": env.cache("CACHE_URL", default=f"filecache://{DATA_DIR / 'cache'}")}
Q_CLUSTER = {
    "name": "commsportal",
    **broker(env("QUEUE_URL", default="")),
    "workers": env.int("WORKERS", default=4),
    # A task works for at most DELIVERY_SLICE_SECONDS; the timeout is for one that hangs.
    "timeout": 120,
    "retry": 400,
    "queue_limit": 1,
    "poll": env.float("QUEUE_POLL_SECONDS", default=0.2),
    "ack_failures": True,
    "catch_up": False,
    "scheduler": False,
    "save_limit": -1,
    "max_attempts": 3,
    "label": "Queue",
}
# ── Delivery ────────────────────────────────────────────────────────────────
DELIVERY_BATCH_SIZE = env.int("DELIVERY_BATCH_SIZE", default=1000)
DELIVERY_FIRST_BATCH_SIZE = env.int("DELIVERY_FIRST_BATCH_SIZE", default=100)
DELIVERY_WAVE_SIZE = env.int("DELIVERY_WAVE_SIZE", default=1000)
DELIVERY_LEASE_SECONDS = env.int("DELIVERY_LEASE_SECONDS", default=45)
DELIVERY_SLICE_SECONDS = env.int("DELIVERY_SLICE_SECONDS", default=5)
DELIVERY_MAX_TRIES = env.int("DELIVERY_MAX_TRIES", default=6)
# How long the feed for apps shows a notice.
IN_APP_HOURS = env.int("IN_APP_HOURS", default=24)
# Networks of one's own that webhooks may reach; everything else that is not public stays out of reach.
WEBHOOK_NETWORKS = [ip_network(one) for one in env.list("WEBHOOK_NETWORKS", default=[])]
# An audience above this, or ten times the last one, must be typed by the approver.
AUDIENCE_CONFIRM_ABOVE = env.int("AUDIENCE_CONFIRM_ABOVE", default=10_000)
# The coverage check: for how long a successful test speaks for a channel, and when a template is to be read again.
CHANNEL_VERIFIED_DAYS = env.int("CHANNEL_VERIFIED_DAYS", default=90)
TEMPLATE_STALE_DAYS = env.int("TEMPLATE_STALE_DAYS", default=365)
# For how long training for a role counts, where its record says nothing else.
TRAINING_VALID_DAYS = env.int("TRAINING_VALID_DAYS", default=365)
# Dotted names of the tasks that find due work whatever the queue has lost; the worker enqueues them in turn.
SWEEPS = [
    "channels.tasks.sweep",
    "incidents.tasks.sweep",
    "incidents.tasks.sweep_requests",
    "incidents.tasks.sweep_clock",
    "incidents.tasks.sweep_alerts",
    "incidents.tasks.sweep_runbooks",
    "incidents.tasks.sweep_events",
    "incidents.tasks.sweep_aws",
    "incidents.tasks.sweep_cloudwatch",
    "incidents.tasks.sweep_automation",
    "incidents.tasks.sweep_chat",
    "feedback.tasks.sweep_awareness",
    "feedback.tasks.sweep_social",
    "feedback.tasks.sweep_reports",
]
SWEEP_SECONDS = env.int("SWEEP_SECONDS", default=10)
# A queue that did nothing for this long while work was waiting is killed and restarted. Longer than any good task.
WORKER_STALE_SECONDS = env.int("WORKER_STALE_SECONDS", default=60)
# What is being sent may take this long to finish when the worker is asked to stop.
WORKER_STOP_SECONDS = env.int("WORKER_STOP_SECONDS", default=30)
# What runbooks may call on AWS, as service:Operation. Nothing that sends messages: that is for channels.
RUNBOOK_AWS_OPERATIONS = env.list(
    "RUNBOOK_AWS_OPERATIONS",
    default=[
        "ssm:StartAutomationExecution",
        "ssm:CreateOpsItem",
        "stepfunctions:StartExecution",
        "events:PutEvents",
        "cloudwatch:PutMetricData",
    ],
)
# How many confirmations may be asked for on the status page; more get the same answer and no message.
SUBSCRIBE_ADDRESS_PER_DAY = env.int("SUBSCRIBE_ADDRESS_PER_DAY", default=3)
SUBSCRIBE_NETWORK_PER_HOUR = env.int("SUBSCRIBE_NETWORK_PER_HOUR", default=10)
SUBSCRIBE_DOMAIN_PER_HOUR = env.int("SUBSCRIBE_DOMAIN_PER_HOUR", default=200)
# How often one token may ask the REST API in a minute, and one network without a good token.
API_PER_MINUTE = env.int("API_PER_MINUTE", default=300)
API_FAILURES_PER_MINUTE = env.int("API_FAILURES_PER_MINUTE", default=30)
# Alerts of the same components join one proposal if they come within so many minutes of the last one.
ALERT_WINDOW_MINUTES = env.int("ALERT_WINDOW_MINUTES", default=10)
# Alerts that no incident came of are deleted after so many days.
ALERT_KEEP_DAYS = env.int("ALERT_KEEP_DAYS", default=90)
# Where Slack's Web API is; GovSlack has another.
SLACK_API = env("SLACK_API", default="https://slack.com/api").rstrip("/")
# Microsoft's three sides of Teams: where an app logs in, where channels are made, and where a bot posts.
MICROSOFT_LOGIN = env("MICROSOFT_LOGIN", default="https://login.microsoftonline.com").rstrip("/")
GRAPH_API = env("GRAPH_API", default="https://graph.microsoft.com/v1.0").rstrip("/")
TEAMS_BOT_API = env("TEAMS_BOT_API", default="https://smba.trafficmanager.net/teams").rstrip("/")
# Where each web server keeps the pages that it answers from; not the directory of a channel.
STATUS_DIR = DATA_DIR / "live"
# The status page channel publishes through this callable: channels/ knows nothing of incidents.
STATUS_PAGE_PUBLISHER = "incidents.statuspage.copies.publish"
# The same page as [(name, bytes)], for those that write it elsewhere than into a directory.
STATUS_PAGE_FILES = "incidents.statuspage.copies.current"
# The region that a new AWS channel starts with.
AWS_REGION = env("AWS_REGION", default=env("AWS_DEFAULT_REGION", default="eu-south-1"))

# ── Feedback ────────────────────────────────────────────────────────────────
# Who reads the mood of posts: "offline", or "comprehend" for Amazon Comprehend in AWS_REGION.
SENTIMENT_ENGINE = env("SENTIMENT_ENGINE", default="offline")
if SENTIMENT_ENGINE not in ("offline", "comprehend"):
    raise ImproperlyConfigured(f"SENTIMENT_ENGINE is “{SENTIMENT_ENGINE}”; use offline or comprehend.")
# How often each network is asked what is new, and after how many days posts are deleted.
SOCIAL_SECONDS = env.int("SOCIAL_SECONDS", default=120)
SOCIAL_KEEP_DAYS = env.int("SOCIAL_KEEP_DAYS", default=90)
# Negative posts about a component by so many people within so many minutes propose an incident, if that is unusual.
SOCIAL_SPIKE_PEOPLE = env.int("SOCIAL_SPIKE_PEOPLE", default=8)
SOCIAL_SPIKE_MINUTES = env.int("SOCIAL_SPIKE_MINUTES", default=10)

# ── Languages and time ──────────────────────────────────────────────────────
LANGUAGE_CODE = "en"
LANGUAGES = [("en", _("English")), ("it", _("Italian"))]
LOCALE_PATHS = [BASE_DIR / "locale"]
FORMAT_MODULE_PATH = ["commsportal.formats"]
TIME_ZONE = env("TIME_ZONE", default="Europe/Rome")
USE_TZ = True

# ── Static files ────────────────────────────────────────────────────────────
STATIC_URL = "/static/"
STATIC_ROOT = DATA_DIR / "static"
STATICFILES_DIRS = [BASE_DIR / "static"]
WHITENOISE_USE_FINDERS = True

# ── Logs ────────────────────────────────────────────────────────────────────
LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"plain": {"format": "%(asctime)s %(levelname)s %(name)s %(message)s"}},
    "filters": {"no_trace_of_bad_input": {"()": "commsportal.logs.NoTraceOfBadInput"}},
    "handlers": {
        "console": {
            "class": "logging.StreamHandler",
            "formatter": "plain",
            "filters": ["no_trace_of_bad_input"],
        }
    },
    "root": {"handlers": ["console"], "level": env("LOG_LEVEL", default="INFO")},
    # One line for every task put on the queue says nothing; its warnings do.
    # The path of a webhook is its credential, and urllib3 tells every path when it is asked for everything.
    # The SDK of AWS tells with every client where it found its keys; the library of passkeys tells of each use of one.
    "loggers": {
        "django-q": {"level": "WARNING"},
        "urllib3": {"level": "INFO"},
        "botocore": {"level": "WARNING"},
        "fido2": {"level": "WARNING"},
    },
}

# ── Admin theme ─────────────────────────────────────────────────────────────
UNFOLD = {
    "SITE_TITLE": PORTAL_NAME,
    "SITE_HEADER": PORTAL_NAME,
    "SITE_SUBHEADER": _("Communication during incidents"),
    "SITE_SYMBOL": "campaign",
    "SITE_FAVICONS": [{"rel": "icon", "type": "image/svg+xml", "href": "/static/portal/icon.svg"}],
    "SHOW_HISTORY": True,
    "SHOW_VIEW_ON_SITE": False,
    "SHOW_LANGUAGES": True,
    # Petrol: the theme's own violet means a drill here.
    "COLORS": {
        "primary": {
            "50": "oklch(97% .014 215)",
            "100": "oklch(94% .028 215)",
            "200": "oklch(89% .05 215)",
            "300": "oklch(82% .08 215)",
            "400": "oklch(75% .1 215)",
            "500": "oklch(66% .11 215)",
            "600": "oklch(47% .085 215)",
            "700": "oklch(41% .075 215)",
            "800": "oklch(36% .06 215)",
            "900": "oklch(31% .05 215)",
            "950": "oklch(24% .04 215)",
        }
    },
    "LOGIN": {"form": "commsportal.login.LoginForm"},
    "ACCOUNT": {"navigation": "commsportal.site.account_links"},
    "DASHBOARD_CALLBACK": "feedback.admin.action.dashboard",
    "STYLES": ["/static/portal/admin.css"],
    "SCRIPTS": ["/static/portal/admin.js"],
    "SIDEBAR": {
        "show_search": True,
        "show_all_applications": False,
        "navigation": "incidents.admin.navigation.navigation",
    },
}
