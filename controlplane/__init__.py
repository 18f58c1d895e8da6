"""The operators' app: live configuration and the maintenance switch, their history, API and screens."""
