"""Vectors of texts, token lists and images: every client's form, every provider's wire."""
