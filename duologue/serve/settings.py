"""Settings of the server, and its fixed limits."""

from dataclasses import dataclass

from tyro.conf import Suppress

AUDIO_BURST_SECONDS = (
    30.0  # seconds of sound by which a client may be ahead of real time, as after a stalled link
)
MESSAGES_PER_SECOND, MESSAGES_BURST = (
    200.0,
    4000.0,
)  # messages a second, and at once; each KiB counts as one more
RESTARTS_PER_SECOND, RESTARTS_BURST = 1.0, 5.0  # "start over" a second, and at once
MESSAGE_SOUND_SECONDS = 2.0  # seconds of sound in one message
FIRST_SOUND_SECONDS = 15.0  # seconds within which a client of /api/chat or WebRTC must send its first sound
SEND_SECONDS = 10.0  # seconds, timeout of sending a message
UNSENT = 1 << 13  # bytes in the send buffer of a connection: about one second of Opus
PIECE = 1 << 12  # bytes that are read from a connection before others get their turn
CONNECTIONS, FROM_ONE = 1000, 64  # in all, and from one address that is no trusted proxy
SPARE = 200  # open files of the process besides its connections
BLOCKED_SECONDS = 10.0  # seconds for which an address that flooded the server is blocked
REQUEST_SECONDS, ANSWER_SECONDS = (
    10.0,
    60.0,
)  # seconds, timeouts of receiving a request and of sending its answer
SOUND_PATHS = "/v1/audio/", "/api/asr-streaming", "/api/tts_streaming"  # requests that carry recordings
SOUND_ANSWER_SECONDS = 3600.0  # seconds, the same for answers in real time
IDLE_SECONDS = 120.0  # seconds without a message after which a session of recognition or synthesis ends
QUEUE_NOTICE_SECONDS = 5.0  # seconds between messages to queued clients
WARN_BEFORE_SECONDS = {"time_limit": 30.0, "idle": 10.0}  # seconds
CHAT_MESSAGE = 1 << 16  # bytes of a message to /api/chat
MESSAGE = 1 << 20  # bytes of any message
PING_SECONDS, PONG_SECONDS = (
    5.0,
    10.0,
)  # seconds between pings, and until a peer that does not answer is dropped
BAD_KEYS_PER_MINUTE = 10  # a minute from one address before it gets 429
LINGER_SECONDS = 20.0  # seconds that sent bytes may stay unacknowledged
FLOOD = "flood"  # the reason for ending a client that sends too much


@dataclass(frozen=True)
class Settings:
    """Settings of the server: how many conversations, for how long, and access."""

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
    delegate: str = ""
    """A server of OpenAI's chat completions, such as http://localhost:8080/v1, that answers the user's questions."""
    delegate_command: str = ""
    """The same by a command: it gets the turns as JSON, and prints the answer."""
    keys: Suppress[tuple[str, ...]] = ()
    """Keys, one of which a client must show; none: everyone may talk."""
    replica: Suppress[str] = ""
    """In a fleet: the replica that this is, with which the names of its conversations end."""
    twilio_token: Suppress[str] = ""
    """What Twilio signs its calls with; none: calls are let in as other clients are."""
