"""The app's migrations and one more, which alters columns of two tables."""
