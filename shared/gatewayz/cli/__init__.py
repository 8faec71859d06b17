"""The `gatewayz` command: for whoever runs a gateway, on this machine or anywhere."""
