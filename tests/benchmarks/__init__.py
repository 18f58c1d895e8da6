"""What `make bench` stands on, proved without looking at a figure."""
