"""The operations of `cargo bench -p dsl-kernels` in PyTorch: medians in milliseconds, forward and with backward.

    python operations.py [threads]
"""
import statistics
import sys
import time

import torch
import torch.nn.functional as F

torch.set_num_threads(int(sys.argv[1]) if len(sys.argv) > 1 else torch.get_num_threads())


def leaf(*dims):
    return (torch.rand(*dims) * 2 - 1).requires_grad_()


def conv(x, out, kernel, stride=1):
    w, b = leaf(out, x[1], kernel, kernel), leaf(out)
    return x, lambda t: F.conv2d(t, w, b, stride, kernel // 2)


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


CASES = {
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
    "upsample_64x16x16": ([8, 64, 16, 16], lambda t: F.interpolate(t, scale_factor=2)),
}


def median(f, seconds=0.5):
    for _ in range(5):
        f()
    times = []
    begin = time.perf_counter()
    while time.perf_counter() - begin < seconds or len(times) < 10:
        start = time.perf_counter()
        f()
        times.append(time.perf_counter() - start)
    return statistics.median(times) * 1e3


for name, (dims, f) in CASES.items():
    x = leaf(*dims)
    weights = torch.rand_like(f(x))

    def forward():
        with torch.no_grad():
            f(x)

    def backward():
        x.grad = None
        (f(x) * weights).sum().backward()

    print(f"{name:32} forward {median(forward):8.3f} ms   with backward {median(backward):8.3f} ms")
