"""The Responses protocol, for clients that speak it and providers that serve it."""
