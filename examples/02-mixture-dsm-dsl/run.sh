#!/bin/sh
# Trains one small network by DSM and by three forms of DSL, with three seeds each, and prints a table of their errors.
# Environment: DSL_HOST (the program), PLUGIN, STEPS, SEEDS, OUT (folder of the runs). Runs that an
# earlier call finished are kept.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
: "${DSL_HOST:=$here/../../target/release/dsl-host}" "${PLUGIN:=mixture}"
: "${STEPS:=3000}" "${SEEDS:=0 1 2}" "${OUT:=runs/mixture-dsm-dsl}"

# train NAME CONFIG STEPS SEED
train() {
    set -- "$OUT/$1-seed$4" "$2" "$3" "$4"
    if [ -e "$1/cpu_seconds" ]; then return; fi
    rm -rf "$1"
    extra=
    if [ "$2" = dsl-warm-up ]; then extra="--set objective.warmup_dsm_steps=$(($3 / 3))"; fi
    times >"$OUT/times"
    begun=$(cpu_seconds)
    # $extra is nothing or two words.
    # shellcheck disable=SC2086
    "$DSL_HOST" --quiet run --plugin "$PLUGIN" --config "$here/$2.yaml" --out "$1" \
        --set train.steps="$3" --set train.seed="$4" --set validation.every_steps=$(($3 / 3)) \
        --set sampling.every_steps=null $extra >/dev/null
    times >"$OUT/times"
    awk -v begun="$begun" -v ended="$(cpu_seconds)" 'BEGIN { printf "%.0f\n", ended - begun }' >"$1/cpu_seconds"
    echo "$1: $(cat "$1/cpu_seconds") s" >&2
}

# Processor time of all runs so far. Other programs on the machine do not count, as they would by the clock.
cpu_seconds() {
    awk 'NR == 2 { split($1, a, /[ms]/); split($2, b, /[ms]/); print 60 * (a[1] + b[1]) + a[2] + b[2] }' "$OUT/times"
}

# value METRICS STEP KEY
value() {
    sed -n "/^{\"step\":$2,/s|.*\"$3\":\([^,}]*\).*|\1|p" "$1"
}

# row NAME TITLE STEPS
row() {
    generator= discriminator= seconds=
    for seed in $SEEDS; do
        run="$OUT/$1-seed$seed"
        metrics="$run/metrics.jsonl"
        for at in $(($3 / 3)) $(($3 / 3 * 2)) "$3"; do
            generator="$generator $(value "$metrics" "$at" score_error/generator | awk '{ printf "%.4f", $1 }')"
        done
        generator="$generator ·"
        discriminator="$discriminator $(value "$metrics" "$3" score_error/discriminator | awk '{ printf "%.4f", $1 }')"
        seconds="$seconds $(cat "$run/cpu_seconds")"
    done
    active=$(cat "$OUT/$1"-seed*/metrics.jsonl | sed -n 's/.*"hinge\/active_fraction":\([^,}]*\).*/\1/p' |
        awk '{ sum += $1 } END { if (NR) printf "%.0f %%", 100 * sum / NR; else printf "-" }')
    if [ "$active" = - ]; then discriminator=" -"; fi
    echo "| $2 | $3 |${generator% ·} |$discriminator | $active |$seconds |"
}

third=$((STEPS / 3)) half=$((STEPS / 2))
mkdir -p "$OUT"
for seed in $SEEDS; do
    for config in dsm dsl dsl-warm-up dsl-dsm-share; do
        train "$config" "$config" "$STEPS" "$seed"
    done
    for config in dsl dsl-warm-up dsl-dsm-share; do
        train "$config-half" "$config" "$half" "$seed"
    done
done

echo "| run | steps | generator at 1/3, 2/3, end (seeds $SEEDS) | discriminator at the end | hinge active | processor seconds |"
echo "|---|---|---|---|---|---|"
row dsm DSM "$STEPS"
row dsl DSL "$STEPS"
row dsl-warm-up "DSL after $third steps of DSM" "$STEPS"
row dsl-dsm-share "DSL with a DSM share of 0.5" "$STEPS"
row dsl-half DSL "$half"
row dsl-warm-up-half "DSL after $((half / 3)) steps of DSM" "$half"
row dsl-dsm-share-half "DSL with a DSM share of 0.5" "$half"
