"""Specs → rows, many at once: what the use cases and bundles share. Callers hold the realm's lock and have judged the specs."""
