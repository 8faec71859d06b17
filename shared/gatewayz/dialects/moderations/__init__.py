"""Whether a text or image is harmful: the one form clients know, every wire."""
