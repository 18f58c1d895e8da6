"""Servers under load over HTTP: starting and pinning them, the same questions in each one's words, and the load itself."""
