"""Gatewayz: one API key, every AI model, automatic reliability, one bill."""

VERSION = "0.1.0"
