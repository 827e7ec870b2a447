"""Every setting of the site, read downward. Values come from the environment or from `.env`
(or from the file that ENV_FILE names).

A wrong value stops the program here, with its name. What can only be judged as a whole
(a key without a public address, the sandbox in production) is a system check in
`generation/checks.py`.
"""

from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import environ
from csp.constants import NONE, SELF
from django.core.exceptions import ImproperlyConfigured
from django.utils.translation import gettext_lazy as _

BASE_DIR = Path(__file__).resolve().parent.parent

env = environ.Env()
environ.Env.read_env(env.str("ENV_FILE", default=str(BASE_DIR / ".env")))
VAR_DIR = Path(env.str("VAR_DIR", default=str(BASE_DIR / "var")))
# What `make run` chose for its processes: a key, the queue's socket, the sandbox's port. Read here,
# so that manage.py in another terminal meets the same ones. What is set already, stays.
environ.Env.read_env(VAR_DIR / "run.env")


def base_url(name: str, default: str = "") -> str:
    """An http(s) address without its closing slash, or "" where the setting may be empty."""
    value: str = env.str(name, default=default).strip().rstrip("/")
    parts = urlsplit(value)
    if value and (parts.scheme not in ("http", "https") or not parts.hostname):
        raise ImproperlyConfigured(f"{name} must be an http(s) address, not {value!r}")
    return value


# The site
DEBUG = env.bool("DEBUG", default=False)
SECRET_KEY = env.str("SECRET_KEY")
ALLOWED_HOSTS = env.list("ALLOWED_HOSTS", default=["localhost", "127.0.0.1", "[::1]"])
# Where the outside reaches this site, e.g. https://studio.example: KIE's callbacks need it.
PUBLIC_URL = base_url("PUBLIC_URL")
PUBLIC_IS_HTTPS = PUBLIC_URL.startswith("https://")
# May strangers make an account (if not, only who is invited to a project), and how many credits
# (whole ones) does it start with?
SIGNUP_OPEN = env.bool("SIGNUP_OPEN", default=True)
WELCOME_CREDITS = env.int("WELCOME_CREDITS", default=0)

# KIE.ai, or the sandbox that speaks its API when no key is set
KIE_API_KEY = env.str("KIE_API_KEY", default="")
KIE_IS_SANDBOX = not KIE_API_KEY
KIE_SANDBOX_URL = base_url("KIE_SANDBOX_URL", "http://127.0.0.1:8010")
KIE_API_URL = base_url("KIE_API_URL", KIE_SANDBOX_URL if KIE_IS_SANDBOX else "https://api.kie.ai")
KIE_UPLOAD_URL = base_url(
    "KIE_UPLOAD_URL", KIE_API_URL if KIE_IS_SANDBOX else "https://kieai.redpandaai.co"
)
KIE_WEBHOOK_KEY = env.str("KIE_WEBHOOK_KEY", default="")
# Calls in any 10 seconds, of all workers together. KIE refuses more than 20 createTask calls.
KIE_CREATES = env.int("KIE_CREATES", default=18)
KIE_QUERIES = env.int("KIE_QUERIES", default=2000)
# Staff are warned when fewer KIE credits (whole ones) are left on the account.
KIE_LOW_CREDITS = env.int("KIE_LOW_CREDITS", default=500)

INSTALLED_APPS = [
    # urls.py loads what the admin shows. The tick does without, and is back sooner.
    "django.contrib.admin.apps.SimpleAdminConfig",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "django.contrib.humanize",
    "django.forms",
    "allauth",
    "allauth.account",
    "csp",
    "django_htmx",
    "django_rq",
    "template_partials",
    "projects",
    "credits",
    "generation",
]

MIDDLEWARE = [
    "imagegen.middleware.refuse_nul",
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "csp.middleware.CSPMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.locale.LocaleMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "projects.access.token_middleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "django_htmx.middleware.HtmxMiddleware",
    "allauth.account.middleware.AccountMiddleware",
    "projects.locks.Refusal",
    "imagegen.middleware.back_from_sign_in",
]

ROOT_URLCONF = "imagegen.urls"
WSGI_APPLICATION = "imagegen.wsgi.application"
FORM_RENDERER = "django.forms.renderers.TemplatesSetting"

TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "builtins": ["template_partials.templatetags.partials"],
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
                "generation.context.site",
            ],
        },
    }
]

# Data
DATABASES = {"default": env.db_url("DATABASE_URL", default=f"sqlite:///{VAR_DIR}/db.sqlite3")}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
if DATABASES["default"]["ENGINE"] == "django.db.backends.sqlite3":
    # IMMEDIATE: a transaction takes the write lock when it begins. Deferred ones fail with
    # "database is locked" as soon as two of them upgrade from reading to writing.
    DATABASES["default"]["OPTIONS"] = {
        "transaction_mode": "IMMEDIATE",
        "timeout": 20,
        "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL;",
    }
else:
    DATABASES["default"]["CONN_MAX_AGE"] = 600
    DATABASES["default"]["CONN_HEALTH_CHECKS"] = True
    # PostgreSQL would compile what it takes for long: seconds for a query of a fifth of one.
    DATABASES["default"].setdefault("OPTIONS", {}).setdefault("options", "-c jit=off")

# The doorbell. One queue per worker process: with several, RQ can lose a killed worker's job.
REDIS_URL = env.str("REDIS_URL", default="redis://127.0.0.1:6379/0")
RQ_QUEUES = {
    name: {
        "URL": REDIS_URL,
        "DEFAULT_TIMEOUT": 180,
        "DEFAULT_RESULT_TTL": 60,
        "SERIALIZER": "rq.serializers.JSONSerializer",
        # A Redis that hangs must not hold up a click for longer.
        "REDIS_CLIENT_KWARGS": {"socket_connect_timeout": 2, "socket_timeout": 5},
    }
    for name in ("orders", "pictures")
}
RQ = {"COMMIT_MODE": "on_db_commit", "WORKER_CLASS": "imagegen.worker.Worker"}
RQ_SHOW_ADMIN_LINK = False
# What may be forgotten: failed logins, the last checkup. In the database, since people must be able
# to log in and order while Redis is away.
CACHES = {
    "default": {"BACKEND": "django.core.cache.backends.db.DatabaseCache", "LOCATION": "cache"}
}

# Pictures: a local folder, or any S3 server. Private either way.
BUCKET = env.str("AWS_STORAGE_BUCKET_NAME", default="")
MEDIA_ROOT = VAR_DIR / "media"
MEDIA_URL = (
    "/media-is-private/"  # no address serves this folder; projects/views.py does, per request
)
AWS_S3_ENDPOINT_URL = base_url("AWS_S3_ENDPOINT_URL")
if BUCKET:
    picture_storage = {
        "BACKEND": "projects.bucket.BucketStorage",
        "OPTIONS": {
            "bucket_name": BUCKET,
            "endpoint_url": AWS_S3_ENDPOINT_URL or None,
            "access_key": env.str("AWS_ACCESS_KEY_ID"),
            "secret_key": env.str("AWS_SECRET_ACCESS_KEY"),
            "region_name": env.str("AWS_S3_REGION_NAME", default="us-east-1"),
        },
    }
else:
    picture_storage = {"BACKEND": "projects.storage.WholeFileStorage"}
STORAGES: dict[str, dict[str, Any]] = {
    "default": picture_storage,
    "staticfiles": {"BACKEND": "whitenoise.storage.CompressedManifestStaticFilesStorage"},
}
STATIC_URL = "/static/"
# The container image carries these files; VAR_DIR is a volume there and outlives the image.
STATIC_ROOT = Path(env.str("STATIC_ROOT", default=str(VAR_DIR / "static")))
STATICFILES_DIRS = [BASE_DIR / "static"]
if DEBUG:
    STORAGES["staticfiles"]["BACKEND"] = "django.contrib.staticfiles.storage.StaticFilesStorage"

# People
AUTHENTICATION_BACKENDS = [
    "django.contrib.auth.backends.ModelBackend",
    "allauth.account.auth_backends.AuthenticationBackend",
]
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": f"django.contrib.auth.password_validation.{name}"}
    for name in (
        "UserAttributeSimilarityValidator",
        "MinimumLengthValidator",
        "CommonPasswordValidator",
        "NumericPasswordValidator",
    )
]
ACCOUNT_ADAPTER = "imagegen.accounts.AccountAdapter"
ACCOUNT_FORMS = {
    "login": "imagegen.accounts.NameOrEmailForm",
    "signup": "imagegen.accounts.InvitedForm",
}
ACCOUNT_LOGIN_METHODS = {"username", "email"}
ACCOUNT_SIGNUP_FIELDS = ["username*", "email*", "password1*", "password2*"]
ACCOUNT_EMAIL_VERIFICATION = "none"
ACCOUNT_LOGOUT_ON_GET = False
LOGIN_URL = "account_login"
LOGIN_REDIRECT_URL = "/"
ACCOUNT_LOGOUT_REDIRECT_URL = "account_login"
EMAIL_CONFIG = env.email_url("EMAIL_URL", default="consolemail://")
vars().update(EMAIL_CONFIG)
EMAIL_TIMEOUT = 10  # seconds; a mail is sent while somebody waits for a page
DEFAULT_FROM_EMAIL = env.str("DEFAULT_FROM_EMAIL", default="imagegen@localhost")

# Language and time
LANGUAGE_CODE = "en"
LANGUAGES = [("en", _("English")), ("sk", _("Slovak"))]
LOCALE_PATHS = [BASE_DIR / "locale"]
USE_TZ = True
TIME_ZONE = env.str("TIME_ZONE", default="UTC")

# Browsers
SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https") if PUBLIC_IS_HTTPS else None
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = PUBLIC_IS_HTTPS
SECURE_SSL_REDIRECT = PUBLIC_IS_HTTPS and not DEBUG
SECURE_REDIRECT_EXEMPT = [r"^healthz$"]
SECURE_HSTS_SECONDS = 31_536_000 if PUBLIC_IS_HTTPS else 0
SESSION_COOKIE_HTTPONLY = True
LANGUAGE_COOKIE_SAMESITE = "Lax"
X_FRAME_OPTIONS = "DENY"
SECURE_REFERRER_POLICY = "same-origin"
CSRF_TRUSTED_ORIGINS = [PUBLIC_URL] if PUBLIC_URL else []
DATA_UPLOAD_MAX_MEMORY_SIZE = 1_000_000
CONTENT_SECURITY_POLICY = {
    "DIRECTIVES": {
        "default-src": [NONE],
        "script-src": [SELF],
        "style-src": [SELF],
        # Pictures in S3 are reached by short-lived signed links, so the browser follows one there.
        "img-src": [SELF, *([AWS_S3_ENDPOINT_URL or "https://*.amazonaws.com"] if BUCKET else [])],
        "font-src": [SELF],
        "connect-src": [SELF],
        "form-action": [SELF],
        "base-uri": [NONE],
        "frame-ancestors": [NONE],
    }
}

LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"line": {"format": "%(asctime)s %(levelname)s %(message)s"}},
    "handlers": {"console": {"class": "logging.StreamHandler", "formatter": "line"}},
    "root": {"handlers": ["console"], "level": env.str("LOG_LEVEL", default="INFO")},
}
