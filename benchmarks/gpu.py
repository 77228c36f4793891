"""What a GPU does with this code, in one command that ends by itself:

    python benchmarks/gpu.py --minutes 9 --out DIR [--train DATA] [--parts parity,speed,training]

It needs the working tree and torch with CUDA, no installation and no network. In this order, each as far as the time
reaches:

    parity      codec and language model against the golden tensors; compiled and recorded steps against the plain one
    speed       conversations with Moshi 7B's shape (random weights): milliseconds a frame, the most that hold 80 ms
    training    steps of 7B with adapters and of a 1B in full: frames a second, share of the peak, memory
    train       with --train, for the minutes that are left: nano's language model on packed shards

DATA is what `python benchmarks/gpu.py --pack OUT.tar.xz --shards DIR ... --tokenizer FILE.model [--start RUN]` wrote,
small enough to be sent. DIR/report.json and DIR/table.md are there from the first figure on; trained weights come in
pieces of at most `--piece-mib`, a folder that `duologue train lm --start` and `export-lm --start` take.
On a CPU all of it runs with tiny models: a rehearsal.
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
}  # and by when, of the time before --train, each is over


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
    parser.add_argument("--out", type=Path, help="where the report goes, and what was trained")
    parser.add_argument(
        "--minutes", type=float, default=9.0, help="when it is over, whatever was not reached"
    )
    parser.add_argument("--parts", default=",".join(PARTS), help="those to run, with commas between them")
    parser.add_argument("--device", help="cuda or cpu; by default what is there")
    parser.add_argument("--train", type=Path, metavar="DATA", help="what --pack wrote: train on it")
    parser.add_argument("--stage", default="duplex", help="of `duologue train lm`")
    parser.add_argument("--preset", default="nano", choices=("nano", "tiny"))
    parser.add_argument("--batch", type=int, default=256, help="pieces of conversations in a batch")
    parser.add_argument("--frames", type=int, default=300, help="length of a piece")
    parser.add_argument(
        "--steps", type=int, help="of the learning rate's schedule; by default what the time allows"
    )
    parser.add_argument("--lr", type=float, help="peak learning rate; by default the stage's")
    parser.add_argument("--workers", type=int, help="processes that make batches")
    parser.add_argument("--compile", action="store_true", help="train compiled layers")
    parser.add_argument("--piece-mib", type=float, default=15.0, help="largest file of trained weights")
    parser.add_argument(
        "--pack", type=Path, metavar="OUT.tar.xz", help="write a small file to --train on, and end"
    )
    parser.add_argument(
        "--shards", type=Path, nargs="*", default=[], help="with --pack: folders of training shards"
    )
    parser.add_argument("--valid", type=Path, nargs="*", default=[], help="with --pack: of held-out ones")
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
