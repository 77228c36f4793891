#!/usr/bin/env bash
# The codec of preset nano, from speech to a frozen set of codes.
#   recipes/nano/codec.sh CORPUS WHISPER WHISPER_TINY RUNS
# CORPUS: folder of clip folders or tars; WHISPER: a Whisper base model for CTranslate2, the teacher; WHISPER_TINY: Whisper tiny,
# whose encoder's weights the codec's start from; RUNS: where everything goes.
set -euo pipefail
corpus=$1 whisper=$2 tiny=$3 runs=$4
export PYTHONPATH="$(cd "$(dirname "$0")/../.." && pwd)${PYTHONPATH:+:$PYTHONPATH}" # for recipes.nano
# Large tensors keep their memory from step to step: half the time of a step goes into fresh pages otherwise.
export MALLOC_MMAP_THRESHOLD_=8000000000 MALLOC_TRIM_THRESHOLD_=16000000000 MALLOC_TOP_PAD_=500000000

# Real people and synthetic users by halves, and a little of the agent.
python -m recipes.nano.segments train --corpus "$corpus" --whisper "$whisper" --out "$runs/segments" --size 150 \
    --blocks 0 1 2 3 4 5
python -m recipes.nano.segments valid --corpus "$corpus" --whisper "$whisper" --out "$runs/segments"
python -m recipes.nano.segments valid-agent --corpus "$corpus" --whisper "$whisper" --out "$runs/segments"

duologue train codec --stage semantic --whisper "$tiny" --segments "$runs/segments" --out "$runs/semantic" --steps 5000 \
    --batch 6 --seconds 6.4 --agent-share 0.12 --eval-every 300
# Then all that the agent says, where conversations have it: it alone will be heard.
mkdir -p "$runs/segments-agent/train"
for part in valid valid-agent train/block-000; do ln -sfn "$(realpath "$runs/segments/$part")" "$runs/segments-agent/$part"; done
python -m recipes.nano.segments agent --corpus "$corpus" --out "$runs/segments-agent"
duologue train codec --stage acoustic --segments "$runs/segments-agent" --start "$runs/semantic" --out "$runs/acoustic" --steps 4800
# From here on the codes are frozen: the language model may start.
duologue train codec --stage decoder --segments "$runs/segments-agent" --start "$runs/acoustic" --out "$runs/decoder" \
    --batch 4 --seconds 1.92 --agent-share 0.85 --steps 4000
duologue train export-codec --start "$runs/decoder" --out "$runs/mimi.safetensors" --store int8
