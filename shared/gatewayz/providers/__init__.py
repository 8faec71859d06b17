"""Who to call, how, and what is odd about them. A provider is a row of data, never a branch."""
