"""Background jobs: long operations outside requests, with progress, a log, cancelling, and another attempt after a loss."""
