#!/usr/bin/env bash
# What a model of nano's kind can do, as docs/evaluation.md has it: RESULTS/*.json and *.txt. Goes on where it stopped.
#   recipes/nano/evaluate.sh CORPUS WHISPER MODEL RESULTS [SCENES]
set -euo pipefail
corpus=$1 whisper=$2 model=$3 results=$4 scenes=${5:-100}
here="$(cd "$(dirname "$0")" && pwd)"
export PYTHONPATH="$here/../..${PYTHONPATH:+:$PYTHONPATH}" # for benchmarks
mkdir -p "$results"

once() { # NAME COMMAND: its output, unless it is there
    [ -e "$results/$1.txt" ] || { "${@:2}" | tee "$results/$1.part" && mv "$results/$1.part" "$results/$1.txt"; }
}
duplex() { # NAME and options
    once "$1" duologue eval duplex --model "$model" --set "$corpus" --script "$here" --whisper "$whisper" \
        --babble "$corpus"/{kathleen,libri-walleclipse} --scenes "$scenes" --json "$results/$1.json" "${@:2}"
}
once codec duologue eval codec --model "$model" --asr "$whisper"
duplex duplex
duplex duplex-robots --kinds turn --voices espeak:en-gb-scotland espeak:en-us+f5 espeak:en-029 flite:awb
once frontier duologue eval frontier --model "$model" --set "$corpus" --script "$here/dialogues.jsonl" \
    --png "$results/frontier.png" --json "$results/frontier.json"
once recognition duologue eval recognition "$corpus/speechocean762" --model "$model" --limit 200 --json "$results/recognition.json"
once round-trip python -m benchmarks.speech both --model "$model" --whisper "$whisper"
once codes duologue eval codes --model "$model" --corpus "$corpus" --versions 1
