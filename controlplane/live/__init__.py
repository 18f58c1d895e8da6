"""Live: what every process tells of itself, one frame a second for the whole site, and events as they happen."""

from __future__ import annotations
