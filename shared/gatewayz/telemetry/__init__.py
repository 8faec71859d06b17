"""What operators and customers see of the gateway: traces, metrics, errors, flags, objectives."""
