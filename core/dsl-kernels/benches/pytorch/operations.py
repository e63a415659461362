"""The operations of `cargo bench -p dsl-kernels` beside the same ones in PyTorch eager, in turns.

    cargo bench -p dsl-kernels --bench operations --no-run        # prints the path of the program
    pip install torch==2.9.0
    python core/dsl-kernels/benches/pytorch/operations.py PROGRAM [rounds] [name]

Run it on an idle machine. Each round is one process of ours and one of PyTorch; printed are the medians over the rounds in
milliseconds, and the median of the rounds' ratios. "with backward" is the backward pass of a weighted sum of the outputs,
less the time of that sum alone.
"""
import collections
import re
import statistics
import subprocess
import sys
import time

PASSES = ["Forward", "Backward", "WeightedSum"]


def cases():
    import torch
    import torch.nn.functional as F

    def leaf(*dims):
        return (torch.rand(*dims) * 2 - 1).requires_grad_()

    def conv(x, out, kernel, stride=1):
        w, b = leaf(out, x[1], kernel, kernel), leaf(out)
        return x, lambda t: F.conv2d(t, w, b, stride, kernel // 2)

    def upsample_conv(x, out):
        w, b = leaf(out, x[1], 3, 3), leaf(out)
        return x, lambda t: F.conv2d(F.interpolate(t, scale_factor=2), w, b, 1, 1)

    def norm(x, silu):
        w, b = leaf(x[1]), leaf(x[1])
        return x, lambda t: (F.silu if silu else (lambda y: y))(F.group_norm(t, 32, w, b))

    def layer_norm(x):
        w, b = leaf(x[2]), leaf(x[2])
        return x, lambda t: F.layer_norm(t, [x[2]], w, b)

    def geglu(t):
        value, gate = t.chunk(2, dim=-1)
        return value * F.gelu(gate)

    def linear(x, out):
        w, b = leaf(out, x[2]), leaf(out)
        return x, lambda t: F.linear(t, w, b)

    def cross(x, tokens):
        k, v = leaf(8, 4, tokens, 32), leaf(8, 4, tokens, 32)
        return x, lambda t: F.scaled_dot_product_attention(t, k, v)

    found = {
        "silu_64x32x32": ([8, 64, 32, 32], F.silu),
        "group_norm_64x32x32": norm([8, 64, 32, 32], False),
        "group_norm_silu_64x32x32": norm([8, 64, 32, 32], True),
        "layer_norm_256x128": layer_norm([8, 256, 128]),
        "geglu_256x1024": ([8, 256, 1024], geglu),
        "linear_256x128x1024": linear([8, 256, 128], 1024),
        "self_attention_4x256x32": ([8, 4, 256, 32], lambda t: F.scaled_dot_product_attention(t, t, t)),
        "cross_attention_4x256x77x32": cross([8, 4, 256, 32], 77),
        "conv3x3_64x64_32x32": conv([8, 64, 32, 32], 64, 3),
        "conv3x3_128x128_16x16": conv([8, 128, 16, 16], 128, 3),
        "conv3x3_128x128_8x8": conv([8, 128, 8, 8], 128, 3),
        "conv3x3_16x16_32x32": conv([8, 16, 32, 32], 16, 3),
        "conv3x3_stride2_64x64_32x32": conv([8, 64, 32, 32], 64, 3, 2),
        "conv1x1_128x64_32x32": conv([8, 128, 32, 32], 64, 1),
        "upsample_conv3x3_128x128_16x16": upsample_conv([8, 128, 16, 16], 128),
        "upsample_64x16x16": ([8, 64, 16, 16], lambda t: F.interpolate(t, scale_factor=2)),
    }
    return {name: (leaf(*dims), f) for name, (dims, f) in found.items()}


def median_of(f, seconds=0.3):
    for _ in range(5):
        f()
    times = []
    begin = time.perf_counter()
    while time.perf_counter() - begin < seconds or len(times) < 50:
        start = time.perf_counter()
        f()
        times.append(time.perf_counter() - start)
    return statistics.median(times) * 1e3


def in_pytorch(name_part):
    import torch

    for name, (x, f) in cases().items():
        if name_part not in name:
            continue
        y = f(x).detach().requires_grad_()
        weights = torch.rand_like(y)

        def forward():
            with torch.no_grad():
                f(x)

        def backward():
            x.grad = None
            (f(x) * weights).sum().backward()

        def weighted_sum():
            y.grad = None
            (y * weights).sum().backward()

        for which, run in zip(PASSES, [forward, backward, weighted_sum]):
            print(name, which, f"{median_of(run):.4f}", flush=True)


UNITS = {"ns": 1e-6, "µs": 1e-3, "ms": 1.0, "s": 1e3}


def of_divan(output):
    """Median by (name, pass) from divan's tree: the third time of a line."""
    found, name = {}, None
    for line in output.splitlines():
        words = line.replace("│", " ").replace("├─", " ").replace("╰─", " ").split()
        if not words:
            continue
        times = re.findall(r"([\d.]+) (ns|µs|ms|s)\b", line)
        if words[0] in PASSES and len(times) >= 3:
            value, unit = times[2]
            found[name, words[0]] = float(value) * UNITS[unit]
        elif len(words) == 1:
            name = words[0]
    return found


def of_pytorch(output):
    return {tuple(line.split()[:2]): float(line.split()[2]) for line in output.splitlines()}


def main():
    if sys.argv[1] == "--torch":
        return in_pytorch(sys.argv[2] if len(sys.argv) > 2 else "")
    program, rounds, name_part = (sys.argv[1:] + ["3", ""][len(sys.argv) - 2:])[:3]
    values = collections.defaultdict(list)
    for _ in range(int(rounds)):
        run = lambda command: subprocess.run(command, check=True, capture_output=True, text=True).stdout
        ours = of_divan(run([program, "--bench"] + ([name_part] if name_part else [])))
        theirs = of_pytorch(run([sys.executable, __file__, "--torch", name_part]))
        for (name, which), value in ours.items():
            if which == "WeightedSum":
                continue
            pair = value, theirs[name, which]
            if which == "Backward":
                pair = value - ours[name, "WeightedSum"], theirs[name, which] - theirs[name, "WeightedSum"]
            values[name, which].append(pair)
    for (name, which), pairs in values.items():
        here, there = (statistics.median(column) for column in zip(*pairs))
        ratio = statistics.median(a / b for a, b in pairs)
        label = "forward" if which == "Forward" else "with backward"
        print(f"{name:30} {label:14} {here:8.3f} ms, PyTorch {there:8.3f} ms, ratio {ratio:.2f}")


main()
