"""The operators' app. Its place is kept; nothing is built here yet."""
