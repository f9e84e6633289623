"""The polls app, as Django finds it."""

from django.apps import AppConfig


class PollsConfig(AppConfig):
    name = "polls"
