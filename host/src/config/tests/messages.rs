//! Tests.
use super::errors;

#[test]
fn show() {
    let y = "# my run
train:
  stepz: 30
  learning_rate: \"1e-4\"
  batch_size: 0
  betas: 0.9
  shuffle: no
  lr: 3
objective:
  kind: dsx
device: cuda0
task:
  data:
    path: 12
    resolutoin: 3
  captions: frist
  background:
    kind: colour
    rgb: [1, 2, 300]
    alfa: 1
  sizes:
    - {width: 3}
    - width: 1
      height: x
limit_bytes: many
learning_rate: 2
warm: {stps: 1}
";
    println!("{}", errors("my.yaml", y, &["train.stepz=3", "task.captions=rndom", "task.data={a: 1}"]));
    for y in ["objective: {kind: dsm, lambda: 0.1}", "objective: {kind: dsl, lambda: 1.0}","objective: {margin: {source: 3}}", "objective: {margin: {source: {const: x}}}", "objective: {margin: {source: {consd: 3}}}", "objective: dsm","train: 3", "train", "", "[1]", "a: [1\nb: 2", "a: 1\na: 2", "train: {learning_rate: .nan}", "train:\n\tsteps: 1", "train: {batch_size: 3}", "a: *x"] {
        println!("===== {y:?}");
        println!("{}", errors("my.yaml", y, &["train.batch_size=7"]));
    }
}
