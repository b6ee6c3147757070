"""Where the pages are."""
from django.urls import path

from . import views

urlpatterns = [
    path("", views.home),
    path("category/<str:name>/", views.category),
    path("find/", views.find),
    path("statistics/", views.statistics),
]
