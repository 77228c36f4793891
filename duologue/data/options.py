"""The settings of the pipeline, as dataclasses that the command line shows; nothing is imported here."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Timing:
    """Durations in seconds; a pair is a range to draw from."""

    response: float = 0.32
    """From the last sound of a question to the first of its answer, then to the nearest frame. A model that reads what
    it wrote down of the question must have written its last word before it begins (two frames after the word): sooner,
    an answer that begins with that word can only be guessed. Without sound 0.8, for words of several pieces."""
    stop: float = 0.28
    """From the first sound of an interruption to the agent's silence, then to the nearest frame."""
    pause: tuple[float, float] = (0.3, 1.2)
    """Inside a question."""
    unfinished: tuple[float, float] = (1.7, 2.4)
    """From the last sound of a question that breaks off to the agent's asking back: longer than any pause."""
    late: float = 1.5
    """As `response`, of answers that come late: longer than any pause."""
    between: tuple[float, float] = (0.5, 3.0)
    """From the end of an answer to the next question."""
    silence: tuple[float, float] = (4.0, 12.0)
    """A long silence, or noise alone, before a question."""
    lead: tuple[float, float] = (0.3, 2.0)
    """Before the first question."""
    tail: tuple[float, float] = (0.8, 3.0)
    """After the last answer."""
    least_heard: float = 0.8
    """Of an answer, before it may be cut or hummed along to."""
    least_left: float = 1.2
    """Of an answer, after it was cut or hummed along to."""


@dataclass(frozen=True)
class Situations:
    """How often each happens; a share of exchanges unless it says otherwise."""

    pause_share: float = 0.2
    """A pause inside a question that has a place for one."""
    barge_in_share: float = 0.35
    """The next question cuts a long answer. Share of long answers, as are the next two."""
    stop_share: float = 0.2
    """ "Stop." or "Wait." cuts it."""
    backchannel_share: float = 0.3
    """The user backchannels along and the answer goes on."""
    silence_share: float = 0.06
    """Nobody speaks for long."""
    noise_share: float = 0.06
    """A noise alone, which is no question."""
    long_share: float = 0.3
    """An item with a long answer is drawn on purpose."""
    follow_up_share: float = 0.06
    """An item that depends on what was said before is drawn on purpose, with what must come first."""
    again_share: float = 0.03
    """The user asks to hear the last answer again (an item whose answer repeats it)."""
    aside_share: float = 0.04
    """Something is said to somebody else (an item of the script without an answer), and the agent stays quiet."""
    bystander_share: float = 0.5
    """It is said by another voice, further off. Share of these."""
    late_share: float = 0.0
    """The answer comes late. A model that has let the usual moment pass, as after a greeting that might have gone on,
    has never seen an answer begin later, and stays silent for good."""
    lost_share: float = 0.02
    """A question drowns in noise, and the agent asks back (with an answer of the topic "mumble")."""
    long_letters: int = 75
    """From how many letters on an answer is long (about 5 s)."""


@dataclass(frozen=True)
class Recipe:
    """Probabilities and ranges; the defaults of the first block are the paper's."""

    gain: float = 0.5
    gain_db: tuple[float, float] = (-24.0, 15.0)
    noise: float = 0.3
    noise_db: tuple[float, float] = (-30.0, 6.0)
    """Of the noise, relative to the user's speech."""
    noise_gap: float = 0.5
    """That a stretch of noise is swapped for silence of up to `noise_gap_seconds`."""
    noise_gap_seconds: float = 30.0
    echo: float = 0.3
    echo_scale: tuple[float, float] = (0.0, 0.2)
    echo_delay: tuple[float, float] = (0.1, 0.5)

    room: float = 0.2
    """Reverberation of the user's own voice."""
    telephone: float = 0.1
    floor: float = 0.5
    """A microphone's faint hiss."""
    floor_db: tuple[float, float] = (-80.0, -55.0)
    offset: float = 0.5
    """A shift of the user's channel by up to half a frame, earlier or later: more would move the agent's timing."""
