"""Conversations: 80 ms of a person in, 80 ms of the agent out."""
