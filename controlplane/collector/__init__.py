"""What a scrape reads: every figure of every process of this host, added up, in Prometheus' text format."""
