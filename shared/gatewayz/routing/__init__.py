"""Which offer, in which order, how often."""
