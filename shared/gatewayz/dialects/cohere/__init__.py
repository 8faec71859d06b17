"""The second version of the Cohere chat protocol, the provider's side only."""
