#!/usr/bin/env bash
# All figures of a model of nano's kind that docs/evaluation.md and docs/model-card.md have: RESULTS/*.json and *.txt, and
# RESULTS/CARD.md. Goes on where it stopped: delete a .txt to have its figures made again.
#   recipes/nano/evaluate.sh CORPUS WHISPER MODEL RESULTS [SCENES]
# PESQ, ViSQOL and speaker likeness are counted where pesq, visqol-python and resemblyzer are installed.
set -euo pipefail
corpus=$1 whisper=$2 model=$3 results=$4 scenes=${5:-100}
here="$(cd "$(dirname "$0")" && pwd)"
export PYTHONPATH="$here/../..${PYTHONPATH:+:$PYTHONPATH}" # for benchmarks and recipes
mkdir -p "$results"

once() { # NAME COMMAND: its output, unless it is there
    [ -e "$results/$1.txt" ] || { "${@:2}" | tee "$results/$1.part" && mv "$results/$1.part" "$results/$1.txt"; }
}
measure() { # NAME VERB and options: `duologue eval VERB`, its table and its figures
    once "$1" duologue eval "${@:2}" --json "$results/$1.json"
}
duplex() { # NAME and options
    measure "$1" duplex --model "$model" --set "$corpus" --script "$here" --scenes "$scenes" "${@:2}"
}
heard=(--whisper "$whisper" --babble "$corpus"/{kathleen,libri-walleclipse})

# The codec.
measure codec codec --model "$model" --asr "$whisper"
measure codebooks codebooks --model "$model" --asr "$whisper"
measure watermark watermark --model "$model"
measure codes codes --model "$model" --corpus "$corpus" --versions 1

# Conversations.
duplex duplex "${heard[@]}"
duplex duplex-robots "${heard[@]}" --kinds turn --voices espeak:en-gb-scotland espeak:en-us+f5 espeak:en-029 flite:awb
measure frontier frontier --model "$model" --set "$corpus" --script "$here/dialogues.jsonl" --scenes 20 --biases -1 0 1 \
    --png "$results/frontier.png"
duplex scenes --kinds conversation --scenes 4 --save "$results/scenes"
measure turns turns "$results/scenes" --asr "$whisper"
if python -c "import resemblyzer" 2>/dev/null; then measure voice voice "$results/scenes"; fi

# Speech and its words, on held-out people and held-out conversations.
measure recognition recognition "$corpus/speechocean762" --model "$model" --limit 200
once round-trip python -m benchmarks.speech both --model "$model" --whisper "$whisper"
once talks duologue data synth "$here" "$results/talks" --clips "$corpus"/agent* "$corpus"/user-* \
    --split voice --count 32 --seconds 40
once talks-codes duologue data encode "$results/talks/manifest.jsonl" "$results/talks-codes" --model "$model"
measure bits bits "$results/talks-codes/shards" --model "$model"
measure quantize quantize "$results/talks-codes/shards" --model "$model" --set "$corpus" --script "$here/dialogues.jsonl" --scenes 25
measure artefacts artefacts --model "$model"

# The other benchmarks, on small sets in their layouts: no figures for a card.
sets=$results/sets
mkdir -p "$sets"
once sets python -m recipes.nano.evaluation_sets "$corpus" "$sets"
measure sets/questions questions "$sets/questions.jsonl" --model "$model" --asr "$whisper"
measure sets/pairs pairs "$sets/pairs.jsonl" --model "$model"
measure sets/abx abx "$sets/words.item" "$sets/words" --model "$model"
measure sets/fdb fdb "$sets/fdb" "$sets/fdb-answers" --model "$model" --whisper "$whisper"
measure sets/mmlu mmlu "$sets/mmlu" --model "$model"
measure sets/toxicity toxicity "$sets/prompts.jsonl" --model "$model"
measure sets/regurgitation regurgitation "$sets/documents/answers.jsonl" --model "$model"
tokenizer=$model/tokenizer.model
[ -e "$tokenizer" ] || tokenizer=$here/../../duologue/assets/nano/tokenizer.model
once packed duologue data text pack "$sets/packed" --curated "$sets/documents" --tokenizer "$tokenizer" --tokens 20000 --context 64
measure sets/text text "$sets/packed/train" --model "$model"

duologue card "$model" "$results/CARD.md" --results "$results"
