"""What is up, how fast, since when."""
