"""A shop that knows nothing of escache: ELASTICSEARCH_URL is the one line that changes."""
import os
import pathlib

BASE = pathlib.Path(__file__).resolve().parent.parent
SECRET_KEY = os.environ.get("SECRET_KEY", "for trying on this machine only")
DEBUG = False
ALLOWED_HOSTS = ["localhost", "127.0.0.1", "testserver"]
INSTALLED_APPS = ["shop", "django_elasticsearch_dsl"]
ROOT_URLCONF = "shop.urls"
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": os.environ.get("SHOP_DB", BASE / "shop.sqlite3"),
        "OPTIONS": {"timeout": 60},
    }
}
TEMPLATES = [{"BACKEND": "django.template.backends.django.DjangoTemplates", "DIRS": [BASE / "templates"]}]

ELASTICSEARCH_DSL = {
    "default": {
        "hosts": os.environ.get("ELASTICSEARCH_URL", "http://localhost:9200"),
        "timeout": 60,
        "http_compress": False,
    }
}
