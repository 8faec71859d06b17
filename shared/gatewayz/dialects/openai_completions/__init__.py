"""The legacy Completions protocol: a prompt in, its continuation out."""
