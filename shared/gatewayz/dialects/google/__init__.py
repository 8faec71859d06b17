"""The generateContent protocol, on both sides."""
