#!/usr/bin/env python
"""Django's command line for the polls application."""

import os
import sys

from django.core.management import execute_from_command_line

if __name__ == "__main__":
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "pollsapi.settings")
    if sys.argv[1:2] == ["test"]:
        os.environ.setdefault("SECRET_KEY", "tests sign nothing of worth")
    execute_from_command_line(sys.argv)
