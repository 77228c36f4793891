"""Runs LiveKit's model for GPT-Live, unchanged, against a server: `python livekit_live_client.py HOST:PORT`.

One session without a room; the user hums, and the application gives the agent something to say. Prints, as JSON, what
was heard.
"""

import asyncio
import json
import sys
import time

import aiohttp
import numpy as np
from livekit import rtc
from livekit.plugins.openai.realtime.gpt_live_model import GPTLiveModel

RATE, PIECE = 24_000, 480


async def main(address: str) -> dict:
    sound, errors, text = [], [], []

    async with aiohttp.ClientSession() as http:
        model = GPTLiveModel(
            api_key="none", base_url=f"http://{address}/v1", delegation="client", http_session=http
        )
        session = model.session()
        session.on("transcript_delta", lambda delta: text.append(delta.text))
        session.on("error", lambda error: errors.append(str(error)))

        async def listen() -> None:
            async for heard in session.audio_stream:
                sound.append(np.frombuffer(heard.frame.data, np.int16))

        listening = asyncio.create_task(listen())
        await session._update_session(
            instructions="Be brief."
        )  # as the framework does: it lets the session start
        began = time.monotonic()
        for piece in range(290):
            at = (np.arange(PIECE) + piece * PIECE) / RATE
            samples = (8000 * (80 <= piece < 110) * np.sin(2 * np.pi * 300 * at)).astype(np.int16)
            session.push_audio(rtc.AudioFrame(samples.tobytes(), RATE, 1, PIECE))
            if piece == 125:
                session.append_commentary("the tallest mountain is Everest")
            await asyncio.sleep(max(0.0, began + 0.02 * (piece + 1) - time.monotonic()))
        await session.aclose()
        await model.aclose()
        listening.cancel()
        await asyncio.gather(listening, return_exceptions=True)
    wav_S = np.concatenate(sound) if sound else np.zeros(0)
    return {
        "text": "".join(text).strip(),
        "seconds": wav_S.size / RATE,
        "loudest": float(np.abs(wav_S.astype(float)).max(initial=0)),
        "errors": errors,
    }


if __name__ == "__main__":
    print(json.dumps(asyncio.run(main(sys.argv[1]))))
