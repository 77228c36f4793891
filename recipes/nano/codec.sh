#!/usr/bin/env bash
# nano's codec, from speech to a frozen set of codes: about five hours on two cores.
#   recipes/nano/codec.sh CORPUS WHISPER RUNS
# CORPUS: folder of clip folders or tars; WHISPER: a Whisper base model for CTranslate2; RUNS: where everything goes.
set -euo pipefail
corpus=$1 whisper=$2 runs=$3
# Large tensors keep their memory from step to step: half the time of a step goes into fresh pages otherwise.
export MALLOC_MMAP_THRESHOLD_=8000000000 MALLOC_TRIM_THRESHOLD_=16000000000 MALLOC_TOP_PAD_=500000000

python -m duologue.data.segments train --corpus "$corpus" --whisper "$whisper" --out "$runs/segments" --blocks 0 1 2 3
python -m duologue.data.segments valid --corpus "$corpus" --whisper "$whisper" --out "$runs/segments"
python -m duologue.data.segments valid-agent --corpus "$corpus" --whisper "$whisper" --out "$runs/segments"

duologue train codec --stage semantic --segments "$runs/segments" --out "$runs/semantic" --steps 4200
duologue train codec --stage joint --segments "$runs/segments" --start "$runs/semantic" --out "$runs/joint" --steps 6000
# From here on the codes are frozen: the language model may start.
duologue train codec --stage decoder --segments "$runs/segments" --start "$runs/joint" --out "$runs/decoder" \
    --batch 4 --seconds 2.88 --lr 1e-3 --steps 4000
# Last, the agent's answers with the very codes that conversations have them in.
mkdir -p "$runs/segments-answers/train"
for part in valid valid-agent train/block-000; do ln -sfn "$(realpath "$runs/segments/$part")" "$runs/segments-answers/$part"; done
python -m duologue.data.segments answers --corpus "$corpus" --whisper "$whisper" --out "$runs/segments-answers"
duologue train codec --stage decoder --segments "$runs/segments-answers" --start "$runs/decoder" --out "$runs/decoder-answers" \
    --batch 4 --seconds 1.92 --agent-share 0.85 --lr 7e-4 --steps 4000
duologue train export-codec --start "$runs/decoder-answers" --out "$runs/mimi.safetensors" --half
