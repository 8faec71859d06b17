"""Documents in the order of their relevance to a query: every client's form, every wire."""
