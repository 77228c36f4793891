"""What the server can be told, and what it never exceeds."""

from dataclasses import dataclass

from tyro.conf import Suppress

AUDIO_BURST = (
    30.0  # seconds of sound a client may be ahead of real time: what a stalled link delivers at once
)
MESSAGES, MESSAGES_BURST = (
    200.0,
    4000.0,
)  # that a client may send a second, and at once; each KiB counts as one more
RESTARTS, RESTARTS_BURST = 1.0, 5.0  # "start over" a second, and at once
MESSAGE_SOUND = 2.0  # seconds of sound that one message may hold
FIRST_SOUND = 15.0  # seconds in which a client of /api/chat or WebRTC must send its first sound
SEND_LIMIT = 10.0  # seconds that sending one message may take
UNSENT = 1 << 13  # bytes that may wait below a conversation: about one second of Opus
PIECE = 1 << 12  # bytes of a connection that are read before others have their turn
CONNECTIONS, FROM_ONE = 1000, 64  # in all, and from one address that is no trusted proxy
SPARE = 200  # files that the process may have open beside its connections
SHUNNED = 10.0  # seconds in which an address that has flooded the server may not connect
REQUEST, ANSWER = 10.0, 60.0  # seconds in which a request must be there, and its answer be taken
SOUND_PATHS = "/v1/audio/", "/api/asr-streaming", "/api/tts_streaming"  # requests that carry recordings
SOUND_ANSWER = 3600.0  # seconds in which the answer to one must be taken: it may be as long as what is spoken
QUEUE_NOTICE = 5.0  # seconds between messages to those who wait
WARN_BEFORE = {"time_limit": 30.0, "idle": 10.0}  # seconds
CHAT_MESSAGE = 1 << 16  # bytes of a message to /api/chat
MESSAGE = 1 << 20  # bytes of any message
PING, PONG = 5.0, 10.0  # seconds between pings, and until a peer that does not answer is dropped
BAD_KEYS = 10  # a minute from one address, before it is told to wait
LINGER = 20.0  # seconds that sent bytes may go unacknowledged
FLOOD = "flood"  # the reason with which whoever sends too much is ended


@dataclass(frozen=True)
class Settings:
    """How many may talk, for how long, and who."""

    sessions: int = 4
    """Conversations at the same time."""
    queue: int = 8
    """How many may wait for one of them to end."""
    time_limit: float = 3600.0
    """Seconds a conversation may last."""
    idle_limit: float = 60.0
    """Seconds without any sound message after which a conversation ends."""
    drain: float = 5.0
    """Seconds that conversations may go on after SIGTERM."""
    origins: tuple[str, ...] = ()
    """Pages of other sites that may connect, such as https://talk.example.com; "*" for all."""
    forwarded_allow_ips: str = "127.0.0.1"
    """Proxies in front, whose X-Forwarded-For tells who a client is: addresses or networks with commas between."""
    ice_servers: tuple[str, ...] = ()
    """For WebRTC across routers: stun:host:port, or turn:user:password@host:port."""
    watermark: bool = False
    """Mark the agent's sound, so that `duologue detect` can tell that it was made here."""
    keys: Suppress[tuple[str, ...]] = ()
    """Keys, one of which a client must show; none: everyone may talk."""
    twilio_token: Suppress[str] = ""
    """What Twilio signs its calls with; none: calls are let in as other clients are."""
