use super::errors;
#[test]
fn show() {
    for (n, t) in [("a.toml", "[train]\nsteps = 3\nlearning_rat = 1e-4\nbetas = [0.9, \"x\"]\n[objective]\nkind = \"dsm\"\nlambda = 1\n[[task.sizes]]\nwidth = 3\nhight = 2\n"),
      ("a.toml", "a = \nb = 2\nc == 3\n"), ("a.toml", "train.steps = 1\ntrain.steps = 2\n[train]\n"), ("a.toml", "limit_bytes = inf\ntrain.steps = 2020-01-01\nx=99999999999999999999"),
      ("a.json", "{\"train\": {\"steps\": \"x\", \"lr\": 1, \"betas\": [1, [2]]},\n \"object\\u0069ve\": {\"kind\": \"dsm\", \"x\\\"y\": 3}}"),
      ("a.json", "{\"a\": 1,}"), ("a.json", "{\"a\": 1"), ("a.json", "{\"a\": 1, \"b\": 2, \"a\": 3}"), ("a.json", "{a: 1}"), ("a.json", ""), ("a.json", "{} x"), ("a.json", "{\"a\": 1e999}"),
      ("a.json", &format!("{{\"train\": {{\"betas\": [{}], \"stepz\": 3}}, \"task\": {{\"data\": {{\"name\": \"{}\"}}}}}}", "1, ".repeat(300) + "1", "é".repeat(200))),
      ("a.ini", "x"), ("a", "x"), ("b.yaml", "é: {é: [1, ü: 3]}\n"), ("b.yaml", "---\na: 1\n---\nb: 2\n"), ("b.yaml", "train:\n  steps: 1\n batch: 2"), ("b.yaml", "train: {steps: -1, batch_size: 1.5}\ntask: {data: {path: [1]}, sizes: {a: 1}}\n"), ("b.yaml", "task: 3"), ("b.yaml", "task:\n")] {
        println!("===== {n} {}", &t[..t.len().min(60)]);
        println!("{}", errors(n, t, &[]));
    }
    for s in [&["train.steps"][..], &["train..steps=3"], &["=3"], &["train.betas.5=1"], &["train.betas.0=x"], &["train.betas=[1, 2"], &["task.data=\"x"], &["train=3"], &["objective.kind=dsm", "objective.lambda=0.1"], &["objective.lambda=0.1", "objective.kind=dsm"], &["train.betas.x=1"], &["task.sizes=[{width: 1}]"], &["lr=3"], &["train.shuffle=maybe"]] {
        println!("===== {s:?}");
        println!("{}", errors("b.yaml", "# x", s));
    }
}
