"""Runs the reference package's own client, unchanged, against a server: `python moshi_client.py HOST:PORT SECONDS`.

It has no sound devices: a module in place of `sounddevice` calls the client's callbacks every 80 ms, with noise for a
microphone. Prints, as JSON, what was heard. Only `moshi.client` is imported, not the package around it.
"""

import asyncio
import contextlib
import importlib.util
import io
import json
import sys
import threading
import time
import types

import numpy as np

played: list[np.ndarray] = []


class Stream:
    def __init__(self, samplerate, channels, blocksize, callback):
        self.shape, self.callback, self.going = (blocksize, channels), callback, True
        self.thread = threading.Thread(target=self.run, daemon=True)

    def __enter__(self):
        self.thread.start()

    def __exit__(self, *_):
        self.going = False

    def run(self):
        rng = np.random.default_rng(0)
        while self.going:
            self.step(rng)
            time.sleep(0.08)


class InputStream(Stream):
    def step(self, rng):
        self.callback(0.1 * rng.standard_normal(self.shape).astype(np.float32), self.shape[0], None, None)


class OutputStream(Stream):
    def step(self, _):
        block = np.zeros(self.shape, np.float32)
        self.callback(block, self.shape[0], None, None)
        played.append(block)


def main(address: str, seconds: float) -> None:
    sounddevice = types.ModuleType("sounddevice")
    sounddevice.InputStream, sounddevice.OutputStream = InputStream, OutputStream
    sys.modules["sounddevice"] = sounddevice
    package = types.ModuleType("moshi")
    package.__path__ = importlib.util.find_spec("moshi").submodule_search_locations
    sys.modules["moshi"] = package
    from moshi.client import run
    from moshi.client_utils import RawPrinter

    said, log = io.StringIO(), io.StringIO()
    host, port = address.split(":")
    args = types.SimpleNamespace(host=host, port=int(port), https=False, url=None)

    async def talk():
        printer = RawPrinter(said, log)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(run(printer, args), seconds)

    asyncio.run(talk())
    wav_S = np.concatenate(played).ravel() if played else np.zeros(1)
    heard = {
        "blocks": len(played),
        "loudest": float(np.abs(wav_S).max()),
        "text": said.getvalue(),
        "log": log.getvalue(),
    }
    print(json.dumps(heard))


if __name__ == "__main__":
    main(sys.argv[1], float(sys.argv[2]))
