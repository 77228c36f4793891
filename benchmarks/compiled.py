"""Whether compiled steps of a model are faster than torch's own: `python benchmarks/compiled.py --model nano`.

Encode, language model and decode, as `duologue convert --format onnx` traces them, by AOTInductor (needs a C++
compiler, and minutes) and by OpenVINO (`pip install openvino`), on one thread, in turns with the same step in torch.
Figures are the processor's time for a frame in milliseconds. Where a compiler gives up, its first words are printed.
"""

import argparse
import time
import warnings
from collections.abc import Callable, Sequence
from tempfile import TemporaryDirectory

import numpy as np
import torch
from torch import Tensor
from torch import _inductor as inductor  # pyright: ignore[reportPrivateUsage]

import duologue
from duologue.weights.onnx_steps import Part, parts

Run = Callable[[Sequence[Tensor]], Sequence[Tensor]]


def in_torch(part: Part) -> Run:
    return lambda inputs: part.module(*inputs)


def aot_inductor(part: Part) -> Run:
    """C++ of the part's operations fused, oneDNN for its products, with the weights as constants."""
    with TemporaryDirectory() as folder:
        package = inductor.aoti_compile_and_package(
            exported(part), package_path=f"{folder}/part.pt2", inductor_configs={"freezing": True}
        )
        compiled = inductor.aoti_load_package(package)
    return lambda inputs: compiled(*inputs)


def openvino(part: Part) -> Run:
    """OpenVINO's own kernels, in 32 bits."""
    import openvino as ov  # pyright: ignore[reportMissingImports]

    graph = ov.convert_model(exported(part).run_decompositions())
    options = {"INFERENCE_NUM_THREADS": 1, "INFERENCE_PRECISION_HINT": "f32", "PERFORMANCE_HINT": "LATENCY"}
    compiled = ov.Core().compile_model(graph, "CPU", options)

    def run(inputs: Sequence[Tensor]) -> list[Tensor]:
        found = compiled([tensor.numpy() for tensor in inputs])
        return [torch.from_numpy(found[output].copy()) for output in compiled.outputs]

    return run


COMPILERS: dict[str, Callable[[Part], Run]] = {"aot_inductor": aot_inductor, "openvino": openvino}


def exported(part: Part) -> torch.export.ExportedProgram:
    state = part.module.tensors()
    part.module(*part.example, *state)  # outside of the trace, fills what is computed once
    return torch.export.export(part.module, (*part.example, *state))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", default="nano")
    parser.add_argument("--frames", type=int, default=60)
    parser.add_argument("--by", nargs="+", choices=COMPILERS, default=list(COMPILERS))
    options = parser.parse_args()
    warnings.simplefilter("ignore")  # of what the exporter uses of torch
    torch.set_num_threads(1)
    model = duologue.load(options.model)
    makers = {"torch": in_torch} | {name: COMPILERS[name] for name in options.by}
    print("part     by             ms   at best  same outputs")
    with torch.no_grad():
        for name, part in parts(model.codec, model.lm, model.sampling).items():
            measure(name, part, makers, options.frames)


def measure(name: str, part: Part, makers: dict[str, Callable[[Part], Run]], frames: int) -> None:
    """Print a line for each of `makers`: the same inputs, each with a state of its own."""
    runs: dict[str, Run] = {}
    for by, make in makers.items():
        try:
            runs[by] = make(part)
        except Exception as error:
            words = " ".join(str(error).split()) or type(error).__name__
            print(f"{name:8} {by:13} gave up: {words[:300]}", flush=True)
    state = {by: part.module.tensors() for by in runs}
    used: dict[str, list[float]] = {by: [] for by in runs}
    same = dict.fromkeys(runs, 0)
    for inputs in drawn(part, frames):
        outputs = {}
        for by, run in runs.items():
            began = time.process_time()
            found = run([*inputs, *state[by]])
            used[by].append(1000 * (time.process_time() - began))
            outputs[by], state[by] = found[: len(part.outputs)], list(found[len(part.outputs) :])
        for by, found in outputs.items():
            pairs = zip(found, outputs["torch"], strict=True)
            same[by] += all(a.shape == b.shape and torch.allclose(a, b, atol=1e-3) for a, b in pairs)
    for by, times in used.items():
        print(
            f"{name:8} {by:13} {np.median(times):5.2f} {min(times):8.2f}   {same[by]} of {frames}", flush=True
        )


def drawn(part: Part, frames: int) -> list[list[Tensor]]:
    """Inputs for so many frames: noise, or codes at random."""
    source = torch.Generator().manual_seed(0)
    return [
        [
            0.1 * torch.randn(x.shape, generator=source)
            if x.is_floating_point()
            else torch.randint(0, 512, x.shape, generator=source)
            for x in part.example
        ]
        for _ in range(frames)
    ]


if __name__ == "__main__":
    main()
