"""Training: one loop for every stage.

`loop.run` drives a `loop.Stage` over resumable data; `optim` has schedules, AdamW and weight averages;
`parallel` places a model on one device or, under `torchrun`, on many; `checkpoint` saves and loads;
`log` writes metrics, plots and audio samples.
"""
