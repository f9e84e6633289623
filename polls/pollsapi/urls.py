"""Every address of the application."""

from django.conf import settings
from django.contrib import admin
from django.urls import include, path
from django.views.generic import RedirectView
from rest_framework.authtoken.views import ObtainAuthToken
from rest_framework.settings import api_settings

from polls import views

admin.site.site_header = admin.site.site_title = f"Polls of {settings.TENANT}"

urlpatterns = [
    path("", RedirectView.as_view(pattern_name="poll-list")),
    path("polls/", include("polls.urls")),
    path("users/", views.UserCreate.as_view(), name="user-create"),
    path(
        "login/",
        ObtainAuthToken.as_view(renderer_classes=api_settings.DEFAULT_RENDERER_CLASSES),
        name="login",
    ),
    path("api-auth/", include("rest_framework.urls")),
    path("admin/", admin.site.urls),
    path("whoami/", views.WhoAmI.as_view(), name="whoami"),
    path("healthz", views.healthz, name="healthz"),
]
