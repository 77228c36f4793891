"""Runs Pipecat's service for the OpenAI Realtime API, unchanged: `python pipecat_client.py HOST:PORT`.

A pipeline of a context, the service and a sink; the user hums for a second. Prints, as JSON, what came out of it.
"""

import asyncio
import json
import sys
import time

import numpy as np
from pipecat.frames.frames import (
    EndFrame,
    ErrorFrame,
    InputAudioRawFrame,
    LLMContextFrame,
    TTSAudioRawFrame,
    TTSStoppedFrame,
)
from pipecat.pipeline.pipeline import Pipeline
from pipecat.pipeline.worker import PipelineParams, PipelineWorker
from pipecat.processors.aggregators.llm_context import LLMContext
from pipecat.processors.frame_processor import FrameProcessor
from pipecat.services.openai.realtime.llm import OpenAIRealtimeLLMService
from pipecat.workers.runner import WorkerRunner

RATE, PIECE = 24_000, 480


class Sink(FrameProcessor):
    """Notes down what reaches the end of the pipeline, and errors that go up."""

    def __init__(self):
        super().__init__()
        self.kinds: list[str] = []
        self.sound = b""
        self.errors: list[str] = []
        self.stopped = asyncio.Event()

    async def process_frame(self, frame, direction):
        await super().process_frame(frame, direction)
        self.kinds.append(type(frame).__name__)
        if isinstance(frame, TTSAudioRawFrame):
            self.sound += frame.audio
        elif isinstance(frame, TTSStoppedFrame):
            self.stopped.set()
        elif isinstance(frame, ErrorFrame):
            self.errors.append(frame.error)
        await self.push_frame(frame, direction)


async def main(address: str) -> dict:
    service = OpenAIRealtimeLLMService(api_key="none", base_url=f"ws://{address}/v1/realtime")
    sink = Sink()
    worker = PipelineWorker(
        Pipeline([service, sink]),
        cancel_on_idle_timeout=False,
        params=PipelineParams(audio_in_sample_rate=RATE, audio_out_sample_rate=RATE, enable_metrics=True),
    )
    started = asyncio.Event()

    @worker.event_handler("on_pipeline_started")
    async def on_started(*_):
        started.set()

    @worker.event_handler("on_pipeline_error")
    async def on_error(_, frame):
        sink.errors.append(str(frame))

    async def talk():
        await asyncio.wait_for(started.wait(), 30)
        context = LLMContext([{"role": "user", "content": "Say hello."}])
        await worker.queue_frame(LLMContextFrame(context))
        await asyncio.sleep(1)
        began = time.monotonic()
        for piece in range(150):
            at = (np.arange(PIECE) + piece * PIECE) / RATE
            loud = piece < 50 or 100 <= piece < 125
            samples = (8000 * loud * np.sin(2 * np.pi * 300 * at)).astype("<i2").tobytes()
            await worker.queue_frame(InputAudioRawFrame(audio=samples, sample_rate=RATE, num_channels=1))
            await asyncio.sleep(max(0.0, began + 0.02 * (piece + 1) - time.monotonic()))
        await asyncio.wait_for(sink.stopped.wait(), 30)
        await asyncio.sleep(1)
        await worker.queue_frame(EndFrame())

    runner = WorkerRunner()
    await runner.add_workers(worker)
    await asyncio.gather(runner.run(), talk())
    wav_S = np.frombuffer(sink.sound, "<i2").astype(float)
    return {
        "kinds": sorted(set(sink.kinds)),
        "seconds": wav_S.size / RATE,
        "loudest": float(np.abs(wav_S).max(initial=0)),
        "errors": sink.errors,
    }


if __name__ == "__main__":
    print(json.dumps(asyncio.run(main(sys.argv[1]))))
