"""Two decoders for the same codes, trained for the same time: SEANet's and the frame decoder.

    python benchmarks/decoders.py RUN SEGMENTS OUT [--minutes 15] [--asr WHISPER]

RUN: a codec's run whose codes are decoded (stage joint or acoustic); SEGMENTS: as for `duologue train codec`; OUT: the
folder of both runs. Prints what `duologue eval codec` measures on held-out sentences of the agent's voice.
"""

import argparse
from dataclasses import replace
from pathlib import Path

from duologue import presets
from duologue.cli import main as duologue
from duologue.cli.eval import print_codec_report
from duologue.config import FramesConfig
from duologue.eval.codec import SPEECH, evaluate_codec, load_clips
from duologue.eval.speech import Recognizer
from duologue.train import codec_run


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("run", type=Path)
    parser.add_argument("segments", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--minutes", type=float, default=15.0)
    parser.add_argument("--asr", type=Path)
    options = parser.parse_args()
    asr = Recognizer(options.asr) if options.asr else None
    plain = replace(presets.nano_codec(), frames=None)
    for name, config in (("seanet", plain), ("frames", replace(plain, frames=FramesConfig()))):
        codec_run.PRESETS["nano"] = lambda config=config: config
        out = options.out / name
        duologue(
            ["train", "codec", "--stage", "decoder", "--segments", str(options.segments), "--start", str(options.run),
             "--out", str(out), "--steps", "20000", "--minutes", str(options.minutes), "--eval-every", "100000"]
        )  # fmt: skip
        codec = codec_run.trained(out, "nano")
        clips = [clip for clip in load_clips(SPEECH, 24_000) if clip.key.startswith("agent")]
        print_codec_report(evaluate_codec(codec, clips, asr, name=name))


if __name__ == "__main__":
    main()
