"""Compiled snapshots, never answers. A simple per-process snapshot keyed by revision; the second layer will stand beside it."""
