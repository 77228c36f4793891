"""GPU benchmark: parity, speed and training in one command with a time limit:

    python benchmarks/gpu.py --minutes 9 --out DIR [--train DATA] [--parts parity,speed,training]

It needs the working tree and torch with CUDA, no installation and no network. The parts run in
this order, each until its share of the time is used:

    parity      codec and language model against the golden tensors; compiled and recorded steps against the plain one
    speed       conversations with Moshi 7B's shape (random weights): milliseconds a frame, the most that hold 80 ms
    training    steps of 7B with adapters and of a 1B in full: frames a second, share of the peak, memory
    train       with --train, for the minutes that are left: nano's language model on packed shards

DATA is the small file that `python benchmarks/gpu.py --pack OUT.tar.xz --shards DIR ... --tokenizer FILE.model [--start
RUN]` writes. DIR/report.json and DIR/table.md are updated after every figure. Trained weights are written in files of
at most `--piece-mib`, to a folder that `duologue train lm --start` and `export-lm --start` accept.
On a CPU everything runs with tiny models, as a rehearsal.
"""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.gpu_parts import packed
from benchmarks.gpu_parts.report import Report

PARTS = {
    "parity": 0.15,
    "speed": 0.6,
    "training": 1.0,
}  # the share of the time before --train at which each part ends


def main() -> None:
    options = parse()
    if options.pack:
        packed.pack(options.pack, options.shards, options.valid, options.tokenizer, options.start)
        return
    import torch

    from benchmarks.gpu_parts import parity, speed, train, training

    kind = options.device or ("cuda" if torch.cuda.is_available() else "cpu")
    device = torch.device(kind)
    if kind == "cpu":
        print("no GPU here: a rehearsal with tiny models")
    share = 1.0 if not options.train else 0.45 if options.parts else 0.0
    report = Report(options.out, options.minutes)
    report.card(device)
    wanted = [name for name in PARTS if name in options.parts.split(",")]
    for name, part in zip(PARTS, (parity.run, speed.run, training.run), strict=True):
        if name in wanted:
            report.begin(name, share * (1.0 if name == wanted[-1] else PARTS[name]))
            part(report, device)
    if options.train:
        report.begin("train", 1.0)
        report.attempt("nano", lambda: train.run(report, device, options))
    report.end()


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, help="folder for the report and the trained weights")
    parser.add_argument(
        "--minutes", type=float, default=9.0, help="time limit; parts that do not fit are skipped"
    )
    parser.add_argument("--parts", default=",".join(PARTS), help="parts to run, separated by commas")
    parser.add_argument("--device", help="cuda or cpu; default: cuda if available")
    parser.add_argument("--train", type=Path, metavar="DATA", help="file written by --pack, to train on")
    parser.add_argument("--stage", default="duplex", help="of `duologue train lm`")
    parser.add_argument("--preset", default="nano", choices=("nano", "tiny"))
    parser.add_argument("--batch", type=int, default=256, help="conversation segments per batch")
    parser.add_argument("--frames", type=int, default=300, help="length of a segment")
    parser.add_argument(
        "--steps", type=int, help="length of the learning rate schedule; default: as many as the time allows"
    )
    parser.add_argument("--lr", type=float, help="peak learning rate; by default the stage's")
    parser.add_argument("--workers", type=int, help="data loader processes")
    parser.add_argument("--compile", action="store_true", help="compile the layers for training")
    parser.add_argument("--piece-mib", type=float, default=15.0, help="largest file of trained weights")
    parser.add_argument(
        "--pack", type=Path, metavar="OUT.tar.xz", help="write a small file to --train on, and end"
    )
    parser.add_argument(
        "--shards", type=Path, nargs="*", default=[], help="with --pack: folders of training shards"
    )
    parser.add_argument(
        "--valid", type=Path, nargs="*", default=[], help="with --pack: folders of held-out shards"
    )
    parser.add_argument("--tokenizer", type=Path, help="with --pack: the vocabulary")
    parser.add_argument("--start", type=Path, help="with --pack: a run whose weights training starts from")
    options = parser.parse_args()
    if not options.pack and not options.out:
        parser.error("name a folder for the report: --out DIR")
    if options.pack and not (options.shards and options.tokenizer):
        parser.error("--pack needs --shards and --tokenizer")
    if odd := set(options.parts.split(",")) - {*PARTS, ""}:
        parser.error(f"no part is called {min(odd)}: choose among {', '.join(PARTS)}")
    return options


if __name__ == "__main__":
    main()
