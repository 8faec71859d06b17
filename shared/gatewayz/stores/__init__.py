"""Four ports (postgres, redis, queue, secrets) and their backends. Nothing else does store I/O."""
