"""Limits of configurations, and checks that raise InputError with the name of the wrong value."""

from duologue.errors import InputError

LARGEST = 2**20  # upper limit of every size
MOST_LAYERS = 1024  # of any stack
MOST_STREAMS = 256
LONGEST_DELAY = 1024  # frames
LARGEST_CACHE = 2**34  # keys and values of one conversation


def require(sound: bool, message: str) -> None:
    if not sound:
        raise InputError(message)


def require_sizes(config: object, *names: str) -> None:
    for name in names:
        value = getattr(config, name)
        require(1 <= value <= LARGEST, f"{name} is a whole number from 1 to {LARGEST}, not {value}")


def require_heads(dim: int, heads: int, kv_repeat: int, rotary: bool) -> None:
    require(dim % heads == 0, f"a width of {dim} does not split into {heads} heads")
    require(heads % kv_repeat == 0, f"{heads} heads do not share keys in groups of {kv_repeat}")
    require(
        not rotary or dim // heads % 2 == 0, f"heads of {dim // heads} channels cannot be rotated in pairs"
    )
