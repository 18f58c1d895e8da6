#!/usr/bin/env python3
"""Runs a command of the site."""

from __future__ import annotations

import os
import sys


def main() -> None:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "permsite.settings")
    try:
        from django.core.management import execute_from_command_line  # noqa: PLC0415 - its absence is explained below
    except ModuleNotFoundError:
        sys.exit("Django is not installed for this Python. Run `make run`, or use .venv/bin/python manage.py.")
    execute_from_command_line(sys.argv)


if __name__ == "__main__":
    main()
