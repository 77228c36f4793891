"""The exception whose message is meant for the person who runs a command."""


class InputError(Exception):
    """Something the caller gave cannot be used: a file, a value, a missing extra.

    The message is one line that says what is wrong and what to do. The command line prints it and exits
    with code 2; a server sends it to the client.
    """
