#!/usr/bin/env bash
# nano from nothing: speech, codec, language model, figures. Every step goes on where it stopped.
#   recipes/nano/run.sh CORPUS KOKORO WHISPER WHISPER_TINY RUNS [PIPER]
# CORPUS: a folder of clip folders, with those of real people (HUMAN in duologue/data/split.py; kathleen and
# libri-walleclipse are needed for the background too); KOKORO: Kokoro-82M as ONNX, with its voices; WHISPER, WHISPER_TINY:
# Whisper base and tiny for CTranslate2; PIPER: Piper's voice `joe`, if there is one. RUNS/nano is the model. Not run as a whole yet.
set -euo pipefail
corpus=$1 kokoro=$2 whisper=$3 tiny=$4 runs=$5 piper=${6:-}
here="$(cd "$(dirname "$0")" && pwd)"
export PYTHONPATH="$here/../..${PYTHONPATH:+:$PYTHONPATH}" # for recipes.nano
mkdir -p "$corpus" "$runs"

python -m recipes.nano.extra_speech agent-answers agent-more user-phrasings user-mix user-robots user-near user-eval \
    user-robots-eval --corpus "$corpus" --kokoro "$kokoro"
[ -z "$piper" ] || python -m recipes.nano.extra_speech user-joe --corpus "$corpus" --piper "$piper" --minutes 75
for folder in "$corpus"/{kathleen,libri-resemblyzer}; do
    [ ! -d "$folder" ] || python "$here/label_clips.py" "$folder" --whisper "$whisper"
done
for folder in "$corpus"/agent* "$corpus"/user-* "$corpus"/{kathleen,libri-resemblyzer,speechocean762,alphanum}; do
    [ ! -d "$folder" ] || duologue data align "$folder" --whisper "$whisper"
done
"$here/codec.sh" "$corpus" "$whisper" "$tiny" "$runs"
"$here/lm.sh" "$corpus" "$runs/mimi.safetensors" "$runs"
"$here/evaluate.sh" "$corpus" "$whisper" "$runs/nano" "$runs/results"
