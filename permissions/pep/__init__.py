"""Enforcement points for Django: each asks the PDP and denies whatever it cannot settle. A module each."""
