"""A duplex step as one CUDA graph: captured once, which takes a second, and replayed for every frame."""

from collections.abc import Callable

import torch
from torch import Tensor

from duologue.engine.duplex import Duplex, DuplexFrame

WARMUP = 3  # steps before recording, in which libraries choose their kernels


def recorded(duplex: Duplex, exec_B: Tensor) -> Callable[[Tensor], DuplexFrame]:
    """`duplex.step` of the slots of `exec_B`. What it returns is overwritten by the next step. On a CPU, which records
    nothing, the plain step with the same shapes."""
    duplex.fix_shapes()
    if exec_B.device.type != "cuda":
        return lambda wav_BS: duplex.step(wav_BS, exec_B)
    heard_BS = torch.zeros(len(exec_B), duplex.frame_size, device=exec_B.device)
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(WARMUP):
            duplex.step(heard_BS, exec_B)
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        out = duplex.step(heard_BS, exec_B)
    duplex.reset(torch.ones_like(exec_B))

    def step(wav_BS: Tensor) -> DuplexFrame:
        heard_BS.copy_(wav_BS)
        graph.replay()
        return out

    return step
