"""DRF: management of every noun, and checks for callers that prefer it to AuthZEN. Parse, call one service, render."""

from __future__ import annotations
