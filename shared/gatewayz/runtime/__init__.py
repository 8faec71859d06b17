"""The faces a function shows its platform. Never loads FastAPI."""
