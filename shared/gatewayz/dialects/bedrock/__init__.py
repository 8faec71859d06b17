"""The Converse protocol, the provider's side only: messages as JSON, streams in binary frames."""
