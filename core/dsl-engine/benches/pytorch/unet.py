"""The training step of `cargo bench -p dsl-engine --bench unet` beside the same step in PyTorch eager, in turns.

    cargo bench -p dsl-engine --bench unet --no-run        # prints the path of the program
    pip install torch==2.9.0 diffusers==0.42.1
    python core/dsl-engine/benches/pytorch/unet.py PROGRAM [reference|small] [batch] [rounds]
    python core/dsl-engine/benches/pytorch/unet.py --threads PROGRAM [reference|small] [batch] [rounds]

The second form leaves PyTorch out and runs one thread and two in turns: printed is how many times as fast two are.

Run it on an idle machine. Each round is one process of ours and one of PyTorch, ten steps each; printed are the median and
the quartiles over all steps, and the quartiles over the rounds of the ratio of the rounds' medians.
"""
import json
import os
import pathlib
import resource
import statistics
import subprocess
import sys
import time

SHAPES = {
    "reference": dict(
        block_out_channels=(64, 128, 128),
        layers_per_block=2,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        cross_attention_dim=128,
        attention_head_dim=4,
        norm_num_groups=32,
    ),
}
STEPS = 10


def small():
    path = pathlib.Path(__file__).parents[4] / "plugins/t2i/defaults.json"
    shape = json.loads(path.read_text())["model"]["denoiser"]
    return {k: tuple(v) if isinstance(v, list) else v for k, v in shape.items() if k != "kind"}


def torch_steps(size, batch):
    import torch
    from diffusers import UNet2DConditionModel

    shape = small() if size == "small" else SHAPES[size]
    shape = dict(sample_size=32, in_channels=3, out_channels=3) | shape
    torch.manual_seed(0)
    network = UNet2DConditionModel(**shape).train()
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-4)
    x, target = torch.randn(batch, 3, 32, 32), torch.randn(batch, 3, 32, 32)
    text = torch.randn(batch, 77, shape["cross_attention_dim"])
    timesteps = torch.arange(batch) * 100 % 1000
    print(sum(p.numel() for p in network.parameters()), "parameters", file=sys.stderr)
    for step in range(STEPS + 4):
        start = time.perf_counter()
        error = network(x, timesteps, text).sample - target
        optimizer.zero_grad()
        (error * error).mean().backward()
        optimizer.step()
        if step >= 4:
            print(f"{time.perf_counter() - start:.6f}")


def run(command, **variables):
    """Times of the steps, and the peak memory of the process in MB."""
    environment = os.environ | variables
    out = subprocess.run(command, check=True, capture_output=True, text=True, env=environment).stdout
    return [float(line) for line in out.split()], resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1e3


def summary(name, values):
    low, middle, high = statistics.quantiles(values, n=4)
    print(f"{name:11} median {middle:.4f}, quartiles {low:.4f} {high:.4f}, least {min(values):.4f}")


def arguments(words):
    return (words + ["reference", "8", "6"][len(words) - 1:])[:4]


def of_threads(words):
    program, size, batch, rounds = arguments(words)
    times, ratios = {1: [], 2: []}, []
    for _ in range(int(rounds)):
        of_round = {}
        for threads in times:
            of_round[threads], _ = run([program, size, str(STEPS), batch], RAYON_NUM_THREADS=str(threads))
            times[threads] += of_round[threads]
        ratios.append(min(of_round[1]) / min(of_round[2]))
    for threads, values in times.items():
        summary(f"{threads} threads", values)
    summary("ratio", ratios)


def main():
    if sys.argv[1] == "--torch":
        return torch_steps(sys.argv[2], int(sys.argv[3]))
    if sys.argv[1] == "--threads":
        return of_threads(sys.argv[2:])
    program, size, batch, rounds = arguments(sys.argv[1:])
    ours, theirs, ratios = [], [], []
    for _ in range(int(rounds)):
        times, memory = run([program, size, str(STEPS), batch])
        others, _ = run([sys.executable, __file__, "--torch", size, batch])
        ours += times
        theirs += others
        ratios.append(statistics.median(times) / statistics.median(others))
        print(f"round: {statistics.median(times):.4f} s, PyTorch {statistics.median(others):.4f} s", flush=True)
    for name, values in [("dsl-host", ours), ("PyTorch", theirs), ("ratio", ratios)]:
        summary(name, values)


main()
