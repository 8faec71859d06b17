"""What can be asked for: models, who offers them, at which versioned price."""
