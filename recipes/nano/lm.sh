#!/usr/bin/env bash
# nano's language model, from scripts to a model one can talk to, on two cores.
#   recipes/nano/lm.sh CLIPS CODEC.safetensors RUNS
# CLIPS: folders of clips with word times: the agent's answers, users' questions (by many voices: `python -m
# recipes.nano.extra_speech user-mix` makes more, `duologue data align` gives them word times), and other people's speech
# for background talk (CLIPS/babble-*); CODEC: what `duologue train export-codec` wrote; RUNS: where everything goes.
set -euo pipefail
clips=$1 codec=$2 runs=$3
script="$(dirname "$0")/dialogues.jsonl"
# Large tensors keep their memory from step to step: half the time of a step goes into fresh pages otherwise.
export MALLOC_MMAP_THRESHOLD_=8000000000 MALLOC_TRIM_THRESHOLD_=16000000000 MALLOC_TOP_PAD_=500000000

conversations() { # NAME SPLIT COUNT SEED: made, made worse, encoded
    # Interruptions are learnt last, so there are more of them than people make; short answers, so that much is asked.
    duologue data synth "$script" "$runs/$1" --clips "$clips"/agent "$clips"/user-* --split "$2" --count "$3" \
        --seconds 60 --seed "$4" --babble "$clips"/babble-* --between 0.3 1.4 --tail 0.4 1.0 --long-share 0.1 \
        --silence-share 0.03 --noise-share 0.04 --barge-in-share 0.45 --backchannel-share 0.25
    duologue data augment "$runs/$1/manifest.jsonl" "$runs/$1-worse" --seed 3 --babble "$clips"/babble-*
    duologue data encode "$runs/$1-worse/manifest.jsonl" "$runs/$1-codes" --model "$codec"
}
# A model of this size soon knows recordings by heart: what it gains, it gains on conversations that are new to it.
conversations train train 5000 1
conversations valid-voice voice 40 7
conversations valid-phrasing phrasing 20 8

duologue train tokenizer "$script" "$runs/text.model"
train() { # STAGE and options
    duologue train lm --shards "$runs/train-codes/shards" --tokenizer "$runs/text.model" \
        --valid "$runs/valid-voice-codes/shards" "$runs/valid-phrasing-codes/shards" "$@"
}
train --stage listen --out "$runs/listen" --steps 600
train --stage duplex --start "$runs/listen" --out "$runs/duplex" --steps 7000
duologue train export-lm --start "$runs/duplex" --codec "$codec" --tokenizer "$runs/text.model" --out "$runs/nano" --half
