"""Conversations over the network: the server, who gets in, and one protocol a file."""
