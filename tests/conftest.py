"""Servers, databases and people of the tests."""

from __future__ import annotations
