"""The conditions of a model in its `config.json`: `conditioners` and `fuser`."""

from duologue.config_conditions import ConditionerConfig, ConditioningConfig, ReferenceConfig
from duologue.errors import InputError
from duologue.weights.fields import Fields, shown

LLAMA = "meta-llama/Llama-3.2-3B-Instruct"  # whose tokens the encoder of references reads


def conditioning(f: Fields) -> ConditioningConfig:
    entries, fuser = f.take("conditioners", dict, {}), f.take("fuser", dict | None, None)
    if not entries:
        return ConditioningConfig()
    conditioners = tuple(
        _conditioner(name, Fields(entry, f"{f.where}: conditioner {name}")) for name, entry in entries.items()
    )
    f = Fields(fuser or {}, f"{f.where}: fuser")
    positions = f.take("cross_attention_pos_emb", bool, False)
    scale = f.take("cross_attention_pos_emb_scale", float, 1.0)
    summed, crossed, prepended, streamed = (
        tuple(f.take(key, list[str], [])) for key in ("sum", "cross", "prepend", "streaming_sum")
    )
    f.finish()
    if unknown := {*summed, *crossed, *prepended, *streamed} - set(entries):
        raise InputError(f"{f.where}: there is no conditioner {sorted(unknown)[0]!r}")
    if {c.name for c in conditioners if c.kind == "reference"} != set(streamed) or len(streamed) > 1:
        raise InputError(f"{f.where}: streaming_sum is for one conditioner of type multi_arc_encoder")
    return ConditioningConfig(conditioners, summed, crossed, scale if positions else 0.0, prepended)


def _conditioner(name: str, f: Fields) -> ConditionerConfig:
    kind = f.take("type", str)
    if kind == "multi_arc_encoder":
        return _reference(name, f)
    if kind not in ("lut", "tensor"):
        raise InputError(f"{f.where}: type {kind!r} is not supported")
    inner = f.inside(kind)
    f.finish()
    inner.expect(tokenizer="noop")
    inner.take("init_scale", float | None, None)  # said how training began
    values = inner.take("possible_values", list[str] | None, None)
    dim, bins = inner.take("dim", int), inner.take("n_bins", int, 0)
    inner.finish()
    return inner.build(ConditionerConfig, name, kind, dim, bins, tuple(values) if values else None)


def _reference(name: str, f: Fields) -> ConditionerConfig:
    inner = f.inside("multi_arc_encoder")
    f.finish()
    rates = inner.inside("embedder_params")
    bridge = inner.inside("bridge_module")
    groups = rates.take("compress_rates", list[int])
    rates.finish()
    if len(groups) != 1 or not groups[0] < -1:
        raise InputError(f"{rates.where}: compress_rates is one number below -1, not {shown(groups)}")
    repo = inner.take("hf_repo", str)
    for said_of_training in ("finetune", "ref_dropout", "frame_rate", "rag_time_sampling_params"):
        inner.values.pop(said_of_training, None)
    inner.expect(learn_padding=True, tokenizer_name=LLAMA)
    inner.finish()
    dim, hidden, out = (bridge.take(key, int) for key in ("in_dim", "hidden_dim", "out_dim"))
    bridge.finish()
    reference = bridge.build(ReferenceConfig, dim, hidden, -groups[0], repo)
    return bridge.build(ConditionerConfig, name, "reference", out, reference=reference)
