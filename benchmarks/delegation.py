"""Delegated questions: how soon the answer is spoken, whether its fact is in it, and whether a user can interrupt it.

    python -m benchmarks.delegation --kokoro FOLDER --scenes 100

Each scene is a call to a served nano over `/api/chat`. One of Kokoro's voices (FOLDER as in docs/data.md) asks
about something outside nano's script. A small server of OpenAI's chat completions on 127.0.0.1 takes the words that
nano wrote down, finds the question of its list that shares most of them, and streams the answer, its first words after
0.3 s. In every fourth scene the user speaks during the answer, which must then stop. Exits with 1 if answers begin
more than 2 s after the server's first words, in the median.
"""

import argparse
import asyncio
import json
import re
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from benchmarks.target import FRAME, Server, handshake
from duologue.audio.framing import FRAME_SIZE, pad_to_frames
from duologue.data.voices import Kokoro
from duologue.serve.delegation import FILLER
from duologue.serve.kyutai import Kind
from tests.serve.chat_server import ChatServer

FACTS = [  # a question, its answer, and the word of it that matters
    ("What is the tallest mountain in the world?", "The tallest mountain is Everest", "Everest"),
    ("Who wrote the novel Frankenstein?", "Frankenstein was written by Mary Shelley", "Shelley"),
    ("What is the largest planet?", "The largest planet is Jupiter", "Jupiter"),
    ("Who painted the Mona Lisa?", "It was painted by Leonardo", "Leonardo"),
    ("What is the longest river in Africa?", "The longest river there is the Nile", "Nile"),
    ("Which metal is liquid at room temperature?", "That metal is mercury", "mercury"),
    ("When did the first man walk on the moon?", "That was in nineteen sixty nine", "sixty"),
    ("What is the speed of light?", "It is three hundred thousand kilometers a second", "hundred"),
    ("Who discovered penicillin?", "It was discovered by Alexander Fleming", "Fleming"),
    ("How tall is the Eiffel tower?", "It is three hundred and thirty meters tall", "thirty"),
]
VOICES = "af_bella", "am_michael", "bf_emma", "am_puck"
FIRST_WORDS_SECONDS, LIMIT_SECONDS, LISTEN_SECONDS = 0.3, 2.0, 14.0
EVERY_CUT = 4  # scenes, of which one is interrupted


def words(text: str) -> list[str]:
    return re.findall(r"[a-z]+", text.lower())


def answer_to(asked: str) -> str:
    """The answer of the question that shares most words with `asked`, rare words counting more."""
    known = [set(words(question)) for question, _, _ in FACTS]

    def likeness(i: int) -> float:
        return sum(1 / sum(word in other for other in known) for word in set(words(asked)) & known[i])

    best = max(range(len(FACTS)), key=likeness)
    return FACTS[best][1] if likeness(best) > 0 else "I could not understand the question"


@dataclass
class Scene:
    fact: str
    cut: bool
    heard: str = ""
    said: list[tuple[float, str]] = field(default_factory=list)  # when each piece of text came
    cut_at: float = 0.0

    @property
    def text(self) -> str:
        return "".join(piece for _, piece in self.said)


async def play(server: Server, question_S: np.ndarray, answer: str, scene: Scene) -> None:
    """One call. The user speaks `question_S`, and again during the answer if the scene is cut."""
    question_TS = pad_to_frames(np.concatenate([np.zeros(24_000, np.float32), question_S])).reshape(
        -1, FRAME_SIZE
    )
    hum_S = (0.2 * np.sin(2 * np.pi * 180 * np.arange(FRAME_SIZE) / 24_000)).astype(np.float32)
    first = words(answer)[0]

    async def listen(link) -> None:
        async for message in link:
            if message[0] == Kind.TEXT:
                scene.said.append((time.monotonic(), message[1:].decode()))
            elif message[0] == Kind.EVENT and (event := json.loads(message[1:]))["type"] == "heard":
                scene.heard += event["text"]

    async with server.dial() as link:
        await handshake(link)
        listening, began = asyncio.create_task(listen(link)), time.monotonic()
        for frame in range(len(question_TS) + round(LISTEN_SECONDS / FRAME)):
            await asyncio.sleep(max(0.0, began + frame * FRAME - time.monotonic()))
            frame_S = question_TS[frame] if frame < len(question_TS) else np.zeros(FRAME_SIZE, np.float32)
            begun = first in words(scene.text.partition(FILLER)[2])
            if scene.cut and begun and not scene.cut_at:
                scene.cut_at = time.monotonic()
            if scene.cut_at and time.monotonic() - scene.cut_at < 1.2:
                frame_S = hum_S
            await link.send(b"\1" + (frame_S * 32767).astype("<i2").tobytes())
        listening.cancel()


def judge(scene: Scene, answer: str, came: float | None) -> dict[str, object]:
    after = scene.text.partition(FILLER)[2]
    begins = None
    if came is not None:
        begins = next((at - came for at, piece in scene.said if at >= came and words(piece)), None)
    whole = words(answer)[-1] in words(after)
    return {
        "delegated": came is not None,
        "begins": begins,
        "fact": scene.fact.lower() in after.lower(),
        "whole": whole,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--kokoro", type=Path, required=True)
    parser.add_argument("--model", default="nano")
    parser.add_argument("--scenes", type=int, default=100)
    options = parser.parse_args()
    speaker, chat = Kokoro(options.kokoro), ChatServer(answer_to, FIRST_WORDS_SECONDS)
    server = Server(["--model", options.model, "--sessions", "1", "--delegate", chat.url])
    judged = []
    try:
        for number in range(options.scenes):
            question, answer, fact = FACTS[number % len(FACTS)]
            question_S = speaker.speak(question, VOICES[number // len(FACTS) % len(VOICES)])
            scene = Scene(fact, number % EVERY_CUT == EVERY_CUT - 1)
            asked = len(chat.began)
            asyncio.run(play(server, question_S, answer, scene))
            came = chat.began[asked] if len(chat.began) > asked else None
            judged.append((scene, judge(scene, answer, came)))
            print(f"{question}\n  heard:{scene.heard}\n  said:{scene.text}\n  {judged[-1][1]}", flush=True)
    finally:
        server.close()
        chat.close()
    report(judged)


def report(judged: list[tuple[Scene, dict]]) -> None:
    delegated = [each for each in judged if each[1]["delegated"]]
    begins = [result["begins"] for _, result in delegated if result["begins"] is not None]
    whole = [(scene, result) for scene, result in delegated if not scene.cut]
    cut = [(scene, result) for scene, result in delegated if scene.cut_at]
    print(f"{len(judged)} scenes, {len(delegated)} delegated")
    if begins:
        print(
            f"the answer begins {np.median(begins):.2f} s after the server's first words, {max(begins):.2f} s at worst"
        )
    print(
        f"the fact is in {sum(r['fact'] for _, r in whole)} of {len(whole)} answers that nobody interrupted"
    )
    print(f"{sum(not r['whole'] for _, r in cut)} of {len(cut)} interrupted answers stopped")
    sys.exit(0 if begins and np.median(begins) <= LIMIT_SECONDS else 1)


if __name__ == "__main__":
    main()
