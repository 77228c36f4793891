#!/usr/bin/env bash
# A small text model (Helium's shape) from a crawl and curated documents, and its perplexity on documents it never saw.
#   recipes/text/run.sh CRAWL RUNS STEPS CURATED...
# CRAWL: WARC, WET or .jsonl files; CURATED: folders of good documents (.jsonl), each a class of its own; RUNS: where
# everything goes. PRESET (nano) and VOCABULARY (2000 pieces) may be set from outside.
set -euo pipefail
crawl=$1 runs=$2 steps=$3
curated=("${@:4}")
preset=${PRESET:-nano} vocabulary=${VOCABULARY:-2000} context=${CONTEXT:-256}
mkdir -p "$runs/curated"

# What nobody chose, to tell good pages from: the crawl as it is, with only the other filters.
duologue data text clean "$runs/web" --sources "$crawl"
duologue data text classifier "$runs/quality.npz" --curated "${curated[@]}" --web "$runs/web/documents"
duologue data text clean "$runs/crawl" --sources "$crawl" --quality "$runs/quality.npz"
for place in "${curated[@]}"; do
    duologue data text clean "$runs/curated/$(basename "$place")" --sources "$place"
done
good=()
for place in "$runs"/curated/*; do good+=("$place/documents"); done
duologue data text vocabulary "$runs/text.model" --curated "${good[@]}" --web "$runs/crawl/documents" --size "$vocabulary"
duologue data text pack "$runs/packed" --tokenizer "$runs/text.model" --tokens $((steps * 8 * context)) \
    --context "$context" --curated "${good[@]}" --web "$runs/crawl/documents"
duologue train lm --stage text --preset "$preset" --tokenizer "$runs/text.model" --texts "$runs/packed/train" \
    --valid "$runs/packed/valid" --batch 8 --frames "$context" --out "$runs/model" --steps "$steps"
duologue train export-lm --preset "$preset" --start "$runs/model" --tokenizer "$runs/text.model" --out "$runs/text"
duologue eval text "$runs/packed/valid" --model "$runs/text" --frames "$context" --json "$runs/text.json"
