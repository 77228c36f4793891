"""The OpenAI Realtime protocol over WebRTC: `POST /v1/realtime/calls`. Needs the extra `webrtc`.

The offer comes as the body, the answer goes back with 201. Sound is Opus over RTP in both directions; events use the
data channel `oai-events`.
"""

import asyncio
import contextlib
import email
import email.policy
import fractions
import json
import logging
import secrets
from collections import deque
from collections.abc import Callable
from dataclasses import replace
from typing import cast

import av
import numpy as np
from aiortc import RTCConfiguration, RTCIceServer, RTCPeerConnection, RTCSessionDescription
from aiortc.mediastreams import MediaStreamError, MediaStreamTrack
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.websockets import WebSocketDisconnect

from duologue.audio.activity import LOUD, rms_of
from duologue.lm.sampling import Sampling
from duologue.serve.link import RATE, Pcm16, first_to_end, read_body
from duologue.serve.openai_exchange import Exchange
from duologue.serve.openai_realtime import Conversation
from duologue.serve.openai_session import DEFAULT, SessionSettings, session_object
from duologue.serve.pool import Call, Ended, Pool
from duologue.serve.sdp import Offer
from duologue.serve.settings import FIRST_SOUND_SECONDS, MESSAGE

log = logging.getLogger(__name__)

PIECE = RATE // 50  # samples of a packet: 20 ms
SLACK = 8  # packets in the send queue above which silence is skipped
WAITING = 50  # packets in the send queue at most: 1 s
EVENTS = 200  # queued events, per direction
BYTES = 1 << 18  # of queued events to send
CHANNELS = 8  # data channels per peer
OFFER = 1 << 16  # bytes
AWAY_SECONDS = 0.5  # seconds without a packet after which silence is inserted
CLOSING_SECONDS = 10.0  # seconds, timeout of closing


class NoCall(Exception):
    """An offer is not answered, but with this status."""

    def __init__(self, status: int, text: str, headers: dict[str, str] | None = None):
        super().__init__(text)
        self.status, self.headers = status, headers


class Calls:
    """All WebRTC calls."""

    def __init__(self, pool: Pool, default: Sampling):
        self._pool, self._default = pool, default
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._closing: set[asyncio.Task[None]] = set()

    async def offer(self, request: Request, base: SessionSettings = DEFAULT) -> Response:
        """Answer the offer of a client of the Realtime protocol; the conversation then goes on by itself."""
        body = await read_body(request)
        try:
            offer, settings = _offered(request.headers.get("content-type", ""), body, base)
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError, LookupError):
            return JSONResponse({"error": "the form holds no offer, or no session that can be"}, 400)
        if offer is None:
            text = "the body is an offer, application/sdp, or a form with `sdp` and `session`"
            return JSONResponse({"error": text}, 415)
        model = request.query_params.get("model", self._pool.model)
        session = session_object(model[:100], self._pool.settings.time_limit)
        try:
            id, answer = await self.answer(
                offer, len(body), lambda peer: Conversation(peer, self._pool, session, settings)
            )
        except NoCall as refusal:
            return JSONResponse({"error": str(refusal)}, refusal.status, refusal.headers)
        where = f"{request.url.path.rstrip('/')}/{id}"
        return Response(answer, 201, {"Location": where}, "application/sdp")

    async def answer(
        self, offer: bytes, size: int, converse: Callable[["Peer"], Exchange]
    ) -> tuple[str, str]:
        """Answer an offer that came in a body of `size` bytes, and hold the conversation that `converse` makes: the
        call's id and the answer. Raises NoCall."""
        if size > MESSAGE or len(offer) > OFFER:
            raise NoCall(413, "the offer is too long")
        try:
            sampling = replace(self._default, seed=secrets.randbits(31))
            call = self._pool.enter(sampling, "webrtc")
        except Ended as ended:
            raise NoCall(503, ended.text, {"Retry-After": f"{ended.retry or 5:.0f}"}) from None
        peer = Peer(call, self._pool.settings.ice_servers)
        try:
            async with asyncio.timeout(FIRST_SOUND_SECONDS):
                answer = await peer.answer(offer.decode())
        except Exception as error:  # a malformed offer may make aiortc raise anything
            log.info("an offer was not understood: %s", error)
            call.close("invalid")
            self._end(peer)
            raise NoCall(400, "the offer cannot be answered") from None
        except BaseException:
            call.close("gone")
            self._end(peer)
            raise
        task = asyncio.create_task(peer.hold(converse(peer)))
        self._tasks[call.id] = task

        def over(_: asyncio.Task[None]) -> None:
            del self._tasks[call.id]
            self._end(peer)

        task.add_done_callback(over)
        return call.id, answer

    def when_over(self, id: str, tell: Callable[[], object]) -> None:
        """Have `tell` called once a call is over."""
        self._tasks[id].add_done_callback(lambda _: tell())

    async def hang_up(self, request: Request) -> Response:
        """End the call with this address."""
        task = self._tasks.get(request.path_params["id"])
        if task is None:
            return JSONResponse({"error": "there is no such call"}, 404)
        task.cancel()
        return Response(status_code=200)

    def _end(self, peer: "Peer") -> None:
        """Close a peer, in a task that nothing else cancels: a partly closed one keeps its sockets for ever, and
        closing triggers the events that cancel the call's own task."""
        task = asyncio.create_task(peer.end())
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)

    async def close(self) -> None:
        """End all of them."""
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.gather(*self._closing)


def _offered(content_type: str, body: bytes, base: SessionSettings) -> tuple[bytes | None, SessionSettings]:
    """The offer in a request body, and the settings of the session. Raises one of several errors for a malformed
    form."""
    kind = content_type.partition(";")[0].strip().lower()
    if kind == "application/sdp":
        return body, base
    if kind != "multipart/form-data":
        return None, base
    head = f"Content-Type: {content_type}\r\n\r\n".encode()
    parts = email.message_from_bytes(head + body, policy=email.policy.HTTP).iter_parts()
    fields = {
        part.get_param("name", header="content-disposition"): part.get_payload(decode=True) for part in parts
    }
    session = json.loads(cast(bytes, fields.get("session") or b"{}"))
    return cast(bytes, fields["sdp"]), base.updated(session)


class Peer:
    """The other end of a call: the `Wire` of its conversation."""

    has_track = True

    def __init__(self, call: Call, ice_servers: tuple[str, ...]):
        self._call = call
        call.first_sound = FIRST_SOUND_SECONDS
        # Without a list, aiortc would use a public STUN server.
        self._peer = RTCPeerConnection(RTCConfiguration([ice_server(url) for url in ice_servers]))
        self._voice = AgentTrack()
        self._channel = None
        self._channels = 0
        self._events: asyncio.Queue[str | bytes] = asyncio.Queue(EVENTS)
        self._unsent: deque[str] = deque(maxlen=EVENTS)  # events until the channel is open
        self._gone = asyncio.Event()
        self._track: MediaStreamTrack | None = None
        self._tracked = asyncio.Event()

    async def answer(self, offer: str) -> str:
        """The answer to an offer, with all ICE candidates of this machine."""
        self._peer.on("track", self._on_track)
        self._peer.on("datachannel", self._on_channel)
        self._peer.on("connectionstatechange", self._on_state)
        reduced = Offer(offer)
        await self._peer.setRemoteDescription(RTCSessionDescription(reduced.text, "offer"))
        self._peer.addTrack(self._voice)
        await self._peer.setLocalDescription(await self._peer.createAnswer())
        return reduced.complete(self._peer.localDescription.sdp)

    async def hold(self, conversation: Exchange) -> None:
        """Hold the conversation until one side ends it. Whoever calls closes the peer after it, with `end`."""

        async def admitted() -> Call:
            return self._call

        try:
            # If the conversation ended by itself it has sent its last events; otherwise there are none to send.
            await first_to_end(conversation.hold(admitted), self._listen(conversation), self._watch())
        except (Ended, WebSocketDisconnect, MediaStreamError):
            pass
        except Exception:
            log.exception("call %s failed", self._call.id)
        finally:
            self._call.close("gone")

    async def end(self) -> None:
        """Free the sockets. It must not be cancelled."""
        self._voice.stop()
        try:
            async with asyncio.timeout(CLOSING_SECONDS):
                transports = {t.receiver.transport.transport for t in self._peer.getTransceivers()}
                await self._peer.close()
                # A connection that is established while it is closed would send consent checks for ever (aioice 0.13).
                await asyncio.sleep(0.1)
                for transport in transports:
                    await transport._connection.close()  # pyright: ignore[reportPrivateUsage]
        except Exception as error:
            log.error("call %s could not be closed: %s", self._call.id, error)

    def _on_track(self, track: MediaStreamTrack) -> None:
        if track.kind == "audio" and self._track is None:
            self._track = track
            self._tracked.set()

    def _on_channel(self, channel) -> None:
        self._channels += 1
        if self._channels > CHANNELS:
            self._gone.set()
        if self._channel is not None or channel.label != "oai-events":
            return
        self._channel = channel
        channel.on("message", self._on_message)
        channel.on("close", self._gone.set)
        while self._unsent:
            channel.send(self._unsent.popleft())

    def _on_message(self, message: str | bytes) -> None:
        try:
            self._events.put_nowait(message)
        except asyncio.QueueFull:
            self._gone.set()

    def _on_state(self) -> None:
        if self._peer.connectionState in ("failed", "closed"):
            self._gone.set()

    async def _watch(self) -> None:
        await self._gone.wait()

    async def _listen(self, conversation: Exchange) -> None:
        """The user's sound, as it comes. One who is muted may send nothing at all; that a peer is gone is found by ICE,
        which asks for its consent every few seconds."""
        await self._tracked.wait()
        assert self._track is not None
        resampler = av.AudioResampler("s16", "mono", RATE)
        frame = await self._track.recv()
        while True:
            for part in resampler.resample(frame):  # pyright: ignore[reportArgumentType]
                await conversation.hear(part.to_ndarray()[0].astype(np.float32) / 32768)
            frame = await self._next_heard(conversation, self._track)

    async def _next_heard(self, conversation: Exchange, track: MediaStreamTrack) -> av.AudioFrame:
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(AWAY_SECONDS):
                    frame = await track.recv()
                    assert isinstance(frame, av.AudioFrame)
                    return frame
            await conversation.hush(AWAY_SECONDS)

    # The wire of the conversation

    async def send(self, event: str) -> None:
        if self._channel is None:
            self._unsent.append(event)
        elif self._channel.readyState != "open":
            raise WebSocketDisconnect
        elif self._channel.bufferedAmount > BYTES:
            raise Ended("slow")
        else:
            self._channel.send(event)

    async def receive(self) -> str | bytes:
        return await self._events.get()

    def play(self, wav_S: np.ndarray) -> None:
        self._voice.push(wav_S)

    async def close(self, code: int, reason: str) -> None:
        await asyncio.sleep(0.1)  # let the last data be sent before `end` closes the peer


class AgentTrack(MediaStreamTrack):
    """The agent's voice in packets of 20 ms in real time, with silence where there is none."""

    kind = "audio"

    def __init__(self):
        super().__init__()
        self._packets: deque[np.ndarray] = deque(maxlen=WAITING)
        self._pieces = 0
        self._begin: float | None = None

    def push(self, wav_S: np.ndarray) -> None:
        """A frame of the agent (float32, a multiple of 480 samples at 24 kHz)."""
        self._packets.extend(wav_S.reshape(-1, PIECE))

    async def recv(self) -> av.AudioFrame:
        loop = asyncio.get_running_loop()
        early = 0.0 if self._begin is None else self._begin + self._pieces * PIECE / RATE - loop.time()
        if (
            self._begin is None or early < -SLACK * PIECE / RATE
        ):  # after a stall, continue without catching up
            self._begin = loop.time() - self._pieces * PIECE / RATE
        await asyncio.sleep(max(0.0, early))
        if self.readyState != "live":
            raise MediaStreamError
        while len(self._packets) > SLACK and rms_of(self._packets[0]) < LOUD:
            self._packets.popleft()
        wav_S = self._packets.popleft() if self._packets else np.zeros(PIECE, np.float32)
        samples = np.frombuffer(Pcm16.write(wav_S), "<i2")[None]
        frame = av.AudioFrame.from_ndarray(samples, format="s16", layout="mono")
        frame.sample_rate, frame.pts = RATE, self._pieces * PIECE
        frame.time_base = fractions.Fraction(1, RATE)
        self._pieces += 1
        return frame


def ice_server(url: str) -> RTCIceServer:
    """A STUN or TURN server; `turn:user:password@host:port` names who asks."""
    scheme, _, rest = url.partition(":")
    who, _, host = rest.rpartition("@")
    user, _, password = who.partition(":")
    return RTCIceServer(f"{scheme}:{host}", username=user or None, credential=password or None)
