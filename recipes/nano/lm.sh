#!/usr/bin/env bash
# nano's language model, from scripts to a model one can talk to, on two cores.
#   recipes/nano/lm.sh CORPUS CODEC.safetensors RUNS
# CORPUS: folders of clips with word times (`python -m recipes.nano.extra_speech` speaks more of them, `duologue data align`
# finds the times): agent*, user-* and, for background talk, kathleen and libri-walleclipse. Sentences of real people are
# taken from those two and from alphanum, libri-resemblyzer and speechocean762, where these are there as folders.
# CODEC: what `duologue train export-codec` wrote; RUNS: where everything goes.
set -euo pipefail
corpus=$1 codec=$2 runs=$3
here="$(cd "$(dirname "$0")" && pwd)"
export PYTHONPATH="$(cd "$here/../.." && pwd)${PYTHONPATH:+:$PYTHONPATH}" # for recipes.nano
# Large tensors keep their memory from step to step: half the time of a step goes into fresh pages otherwise.
export MALLOC_MMAP_THRESHOLD_=8000000000 MALLOC_TRIM_THRESHOLD_=16000000000 MALLOC_TOP_PAD_=500000000

# All scripts in one folder, and sentences of real people, to which the answer is that nano does not know.
mkdir -p "$runs/scripts"
ln -sf "$here"/{dialogues,domain,everyday,paraphrases}.jsonl "$runs/scripts"
python -m recipes.nano.human_clips "$corpus" "$runs/user-human" "$runs/scripts/human.jsonl"
duologue train tokenizer "$runs/scripts" "$runs/text.model"

# Interruptions are learnt last, so there are more of them than people make; short answers, so that much is asked.
timing=(--seconds 60 --between 0.3 1.4 --tail 0.4 1.0 --long-share 0.1 --silence-share 0.03 --noise-share 0.04
    --barge-in-share 0.45 --backchannel-share 0.25 --late-share 0.04)
conversations() { # NAME SPLIT COUNT SEED: made, made worse, encoded
    duologue data synth "$runs/scripts" "$runs/$1" --clips "$corpus"/agent* "$corpus"/user-* "$runs/user-human" \
        --split "$2" --count "$3" --seed "$4" --babble "$corpus"/{kathleen,libri-walleclipse} "${timing[@]}"
    duologue data augment "$runs/$1/manifest.jsonl" "$runs/$1-worse" --seed 3 \
        --babble "$corpus"/{kathleen,libri-walleclipse}
    duologue data encode "$runs/$1-worse/manifest.jsonl" "$runs/$1-codes" --model "$codec"
}
conversations train train 400 1
conversations valid-voice voice 40 7
conversations valid-phrasing phrasing 20 8
# Many more, of the clips' codes: a small model lacks conversations before it lacks steps.
duologue data compose "$runs/scripts" "$runs/composed" --clips "$corpus"/agent* "$corpus"/user-* "$runs/user-human" --model "$codec" \
    --takes 2 --count 6000 --seed 1 --babble "$corpus"/{kathleen,libri-walleclipse} "${timing[@]}"
# And of what is asked first as many again: a small model learns what it meets often.
python -m recipes.nano.core_scripts "$runs/scripts" "$runs/scripts-core"
duologue data compose "$runs/scripts-core" "$runs/composed-core" --clips "$corpus"/agent* "$corpus"/user-* "$runs/user-human" \
    --model "$codec" --takes 2 --count 7000 --seed 301 --babble "$corpus"/{kathleen,libri-walleclipse} "${timing[@]}" \
    --follow-up-share 0.1 --again-share 0.05
# What to answer needs no sound: the same scripts as words, some of them misheard, at three times the pace; and people with
# names that nobody has, which can only be read.
mkdir -p "$runs/scripts-silent"
cp -L "$runs"/scripts/*.jsonl "$runs/scripts-silent"
python -m recipes.nano.coined_names "$runs/scripts-silent/coined.jsonl" --count 400 --seed 1
duologue data dialogues "$runs/scripts-silent" "$runs/words" --count 16000 --seed 11 --confusions "$here/confusions.json" --misheard 0.1 \
    --pace 3 --seconds 34 --between 0.2 0.6 --tail 0.2 0.4 --long-share 0.1 --follow-up-share 0.12 --again-share 0.05 \
    --silence-share 0.02 --noise-share 0   # answers 0.8 s after the question, when all of it is written down
# To look up a word of the question in what was written down of it.
python -m recipes.nano.copied_words "$runs/scripts-silent" "$runs/scripts-copy/copy.jsonl" --count 12000 --seed 7
duologue data dialogues "$runs/scripts-copy" "$runs/copied" --count 6000 --seed 61 --pace 3 --seconds 34 --between 0.2 0.6 --tail 0.2 0.4 \
    --lead 0.2 0.5 --long-share 0 --follow-up-share 0 --again-share 0 --silence-share 0 --noise-share 0 --lost-share 0 --pause-share 0

# To hear and to speak take more speech than that: new at every step, and quick to make.
duologue data utterances "$runs/speech" --clips "$corpus"/user-* "$runs/user-human" "$corpus"/agent* --model "$codec" \
    --count 8000 --seed 101 --babble "$corpus"/{kathleen,libri-walleclipse}

train() { # STAGE and options; nano's own was trained in more and shorter runs (docs/log.md)
    duologue train lm --stage "$1" --out "$runs/$1" --tokenizer "$runs/text.model" --codec "$codec" --eval-every 200 \
        --valid "$runs"/{valid-voice-codes,valid-phrasing-codes}/shards "${@:2}"
}
train transcribe --steps 2000 --shards "$runs"/{speech,composed}/shards
train listen --start "$runs/transcribe" --steps 2000 --shards "$runs"/{train-codes,composed,words,copied,speech}/shards
# Recorded conversations three times as often as there are of them: composed ones are many.
train duplex --start "$runs/listen" --steps 10000 --shards "$runs"/{train-codes,train-codes,train-codes,composed,composed-core,words,speech}/shards
duologue train export-lm --start "$runs/duplex" --codec "$codec" --tokenizer "$runs/text.model" --out "$runs/nano" --store int8 --temperature 0
