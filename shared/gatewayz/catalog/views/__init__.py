"""The catalog as the public API shows it: rows, filters, pages, comparisons. Only reads."""
