"""The model in MLX, for Apple silicon: class for class and name for name what `nn`, `codec` and `lm` are in torch.

A state is a value here too, but MLX arrays are immutable: a step puts new arrays into the state it is given. Waveforms
and latents have their channels last, as MLX's convolutions expect: `x_BTC` where torch has `x_BCT`.
"""
