"""Alive, ready, and each component in detail."""
