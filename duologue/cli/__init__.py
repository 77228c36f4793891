"""The command line: every verb, and what a terminal shows. Nothing else imports it."""

from duologue.cli.app import main

__all__ = ["main"]
