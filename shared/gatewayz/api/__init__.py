"""The control plane's edge: FastAPI applications with one error renderer and one way to sign in."""
