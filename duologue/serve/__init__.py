"""Conversations over the network: the server, admission control, and one protocol per file."""
