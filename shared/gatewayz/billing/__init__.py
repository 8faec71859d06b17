"""Money out of and into the ledger: leases and holds (credits), charges (settlement), sweeping."""
