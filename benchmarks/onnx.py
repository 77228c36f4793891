"""How fast ONNX Runtime takes the step of a model, beside the step in torch: `python benchmarks/onnx.py FOLDER`.

FOLDER is what `duologue convert MODEL FOLDER --format onnx` wrote. Both run on one thread, in turns, in one process;
the figures are the processor's time for a frame in milliseconds, so that other programs count little. With node, and
`npm ci` done in web/, ONNX Runtime Web takes its turn afterwards (`onnx_web.mjs`).
"""

import argparse
import json
import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

WARM_UP = 30  # frames


class OnnxDuplex:
    """One conversation with a model in ONNX files, as `duologue.Session` but with tokens for text."""

    def __init__(self, folder: Path, threads: int = 1):
        import onnxruntime

        self.manifest = json.loads((folder / "model.json").read_text())
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.log_severity_level = 3
        self._sessions = {
            name: onnxruntime.InferenceSession(
                str(folder / part["file"]), options, providers=["CPUExecutionProvider"]
            )
            for name, part in self.manifest["parts"].items()
        }
        self.restart()

    def restart(self) -> None:
        """A new conversation, which begins with a silent frame."""
        self._state = {
            name: [np.full(s["shape"], s["value"], s["type"]) for s in part["state"]]
            for name, part in self.manifest["parts"].items()
        }
        self.push(np.zeros(self.manifest["frame_size"], np.float32))

    def push(self, frame_S: np.ndarray) -> tuple[np.ndarray, np.ndarray, int]:
        """Hear a frame; the agent's tokens `[1 + Q]` (-2: none yet), its samples, and the token of the user's words."""
        codes = self.run("encode", wav=frame_S[None])["codes"]
        said = self.run("lm", codes=codes)
        tokens_K, wav_S = said["tokens"][0], np.zeros_like(frame_S)
        if (tokens_K >= 0).all():
            wav_S = self.run("decode", codes=tokens_K[None, 1:])["wav"][0]
        return tokens_K, wav_S, int(said["user_text"][0])

    def run(self, name: str, **inputs: np.ndarray) -> dict[str, np.ndarray]:
        """One of the graphs, whose state it keeps."""
        session = self._sessions[name]
        state = {f"state_{i}": value for i, value in enumerate(self._state[name])}
        outputs = [output.name for output in session.get_outputs()]
        values = dict(zip(outputs, session.run(None, {**inputs, **state}), strict=True))
        self._state[name] = [values.pop(f"next_{i}") for i in range(len(state))]
        return values


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--model", default="nano")
    parser.add_argument("--frames", type=int, default=60)
    options = parser.parse_args()

    import torch

    import duologue

    torch.set_num_threads(1)
    session, graphs = duologue.Session(duologue.load(options.model)), OnnxDuplex(options.folder)
    frames = 0.1 * np.random.default_rng(0).standard_normal((options.frames, session.frame_size))
    used: dict[str, list[float]] = {"torch": [], "ONNX Runtime": []}
    for frame_S in frames.astype(np.float32):
        used["torch"].append(processor_ms(lambda: session.push(frame_S)))  # noqa: B023
        used["ONNX Runtime"].append(processor_ms(lambda: graphs.push(frame_S)))  # noqa: B023
    used |= in_webassembly(options.folder, options.frames)
    for name, times in used.items():
        ratio = np.median(times) / np.median(used["torch"])
        print(f"{name:25} {np.median(times):6.2f} ms, at best {min(times):6.2f}; {ratio:.2f} of torch")


def in_webassembly(folder: Path, frames: int) -> dict[str, list[float]]:
    """The same in node, if it can be had; the first frames, while the engine still compiles, do not count."""
    here = Path(__file__).parent
    if not shutil.which("node") or not (here.parent / "web" / "node_modules" / "onnxruntime-web").exists():
        return {}
    command = ["node", here / "onnx_web.mjs", folder, str(WARM_UP + frames)]
    run = subprocess.run(command, capture_output=True, text=True, check=True)
    return {"ONNX Runtime Web": json.loads(run.stdout.splitlines()[-1])[WARM_UP:]}


def processor_ms(call: Callable[[], object]) -> float:
    began = time.process_time()
    call()
    return 1000 * (time.process_time() - began)


if __name__ == "__main__":
    main()
