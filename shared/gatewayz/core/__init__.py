"""Facts and tools every package shares: settings, errors, ids, money, clock, log. No I/O."""
