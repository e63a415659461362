//! Evaluators: their metrics, files and memory of earlier samples.

use dsl_testkit::Status::Failed;

use super::misbehaves;

#[test]
fn evaluators() {
    misbehaves(
        "nan-metric",
        "metrics-finite-with-directions",
        Failed,
        &["`mean_square` is NaN"],
    );
    misbehaves(
        "same-metric-twice",
        "metrics-finite-with-directions",
        Failed,
        &["unique names"],
    );
    misbehaves(
        "artefact-with-folder",
        "artefacts-well-formed",
        Failed,
        &["../mean-square.txt"],
    );
    misbehaves(
        "artefact-of-other-kind",
        "artefacts-well-formed",
        Failed,
        &["`picture.png` is not image/png"],
    );
    misbehaves(
        "evaluator-remembers",
        "evaluator-as-new-after-finish",
        Failed,
        &["`mean_square` is first"],
    );
    misbehaves(
        "weights-batches",
        "evaluator-batches-add-up",
        Failed,
        &["`mean_square` is first"],
    );
    misbehaves(
        "needs-discriminator",
        "evaluator-many-samples",
        Failed,
        &["eps_pred/discriminator"],
    );
    misbehaves(
        "evaluator-split",
        "evaluator-requirements",
        Failed,
        &["`nowhere`"],
    );
    misbehaves(
        "panic-without-truth",
        "evaluator-missing-column",
        Failed,
        &["update of the evaluator", "told to panic without truth"],
    );
}
