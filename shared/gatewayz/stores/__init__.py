"""Five ports (postgres, redis, queue, blobs, secrets) and their backends: all our store I/O."""
