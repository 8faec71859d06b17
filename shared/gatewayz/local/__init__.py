"""The embedded stack: everything Gatewayz needs, on this machine, from wheels."""
