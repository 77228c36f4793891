"""Runs LiveKit's model for the OpenAI Realtime API, unchanged, against a server: `python livekit_client.py HOST:PORT`.

One session without a room; the user hums twice. Prints, as JSON, what was heard.
"""

import asyncio
import json
import sys
import time

import aiohttp
import numpy as np
from livekit import rtc
from livekit.plugins import openai

RATE, PIECE = 24_000, 480


async def main(address: str) -> dict:
    sound, errors, tasks = [], [], []
    generations = 0
    spoken = asyncio.Event()

    async def listen(generation) -> None:
        async for message in generation.message_stream:
            async for frame in message.audio_stream:
                sound.append(np.frombuffer(frame.data, np.int16))
            spoken.set()

    def on_generation(generation) -> None:
        nonlocal generations
        generations += 1
        tasks.append(asyncio.create_task(listen(generation)))

    async with aiohttp.ClientSession() as http:
        model = openai.realtime.RealtimeModel(
            api_key="none", base_url=f"http://{address}/v1", model="duologue", http_session=http
        )
        session = model.session()
        session.on("generation_created", on_generation)
        session.on("error", lambda error: errors.append(str(error)))
        await session.update_instructions("Be brief.")
        began = time.monotonic()
        for piece in range(200):
            at = (np.arange(PIECE) + piece * PIECE) / RATE
            loud = piece < 50 or 110 <= piece < 150
            samples = (8000 * loud * np.sin(2 * np.pi * 300 * at)).astype(np.int16)
            session.push_audio(rtc.AudioFrame(samples.tobytes(), RATE, 1, PIECE))
            await asyncio.sleep(max(0.0, began + 0.02 * (piece + 1) - time.monotonic()))
        await asyncio.wait_for(spoken.wait(), 30)
        reply = session.generate_reply()
        await asyncio.wait_for(reply, 30)
        session.interrupt()
        await asyncio.sleep(1)
        await session.aclose()
        await model.aclose()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    wav_S = np.concatenate(sound) if sound else np.zeros(0)
    return {
        "generations": generations,
        "seconds": wav_S.size / RATE,
        "loudest": float(np.abs(wav_S.astype(float)).max(initial=0)),
        "errors": errors,
    }


if __name__ == "__main__":
    print(json.dumps(asyncio.run(main(sys.argv[1]))))
