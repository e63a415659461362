"""Makes the reference values of the feature networks: narrow copies of the reference packages' networks with seeded weights.

    python export.py

writes, beside itself, `<network>/model.safetensors` (float16) and `<network>/io.safetensors` (float32). Made with torch 2.9.0,
torchvision 0.24.0, pytorch-fid 0.3.0, lpips 0.1.4. ST-LPIPS is written out here from its description, since the layers of
its package may not be used. Widths are divided by 16 (MobileNetV2: by 8) while the packages build their networks.
"""
import contextlib
import pathlib

import lpips
import pytorch_fid.inception as pf
import torch
import torch.nn.functional as F
import torchvision
from safetensors.torch import load_file, save_file

HERE = pathlib.Path(__file__).parent
RNG = torch.Generator().manual_seed(7)


@contextlib.contextmanager
def narrow(divisor):
    """Divides the widths of all layers that are built meanwhile; 3 colours and single outputs stay."""
    width = lambda n: n if n in (1, 3) else n // divisor
    conv, norm, linear = torch.nn.Conv2d.__init__, torch.nn.BatchNorm2d.__init__, torch.nn.Linear.__init__

    def conv_init(self, i, o, *a, groups=1, **k):
        conv(self, width(i), width(o), *a, groups=width(groups), **k)

    torch.nn.Conv2d.__init__ = conv_init
    torch.nn.BatchNorm2d.__init__ = lambda self, n, *a, **k: norm(self, width(n), *a, **k)
    torch.nn.Linear.__init__ = lambda self, i, o, *a, **k: linear(self, width(i), o, *a, **k)
    try:
        yield
    finally:
        torch.nn.Conv2d.__init__, torch.nn.BatchNorm2d.__init__, torch.nn.Linear.__init__ = conv, norm, linear


def normal(*shape, std=1.0, mean=0.0):
    return torch.randn(shape, generator=RNG) * std + mean


def uniform(*shape, lo=0.0, hi=1.0):
    return torch.rand(shape, generator=RNG) * (hi - lo) + lo


@torch.no_grad()
def randomise(state):
    """A value for every tensor: He's deviation for weights, statistics away from 0 and 1; not negative for LPIPS' heads."""
    for key, value in state.items():
        if key.startswith("scaling_layer"):
            continue
        if key.startswith("lin"):
            value.copy_(uniform(*value.shape))
        elif key.endswith("running_mean"):
            value.copy_(normal(*value.shape, std=0.1))
        elif key.endswith("running_var"):
            value.copy_(uniform(*value.shape, lo=0.5, hi=1.5))
        elif value.ndim >= 2:
            value.copy_(normal(*value.shape, std=(2 / value[0].numel()) ** 0.5))
        elif key.endswith("weight"):
            value.copy_(normal(*value.shape, std=0.2, mean=1.0))
        elif value.is_floating_point():
            value.copy_(normal(*value.shape, std=0.1))


def half(model, folder, drop=()):
    """Writes the weights as float16 and gives the rounded ones back to the model."""
    randomise(model.state_dict())
    state = {k: v.half().contiguous() for k, v in model.state_dict().items()
             if v.is_floating_point() and not k.startswith(tuple(drop))}
    folder.mkdir(exist_ok=True)
    save_file(state, str(folder / "model.safetensors"), metadata={"format": "pt"})
    model.load_state_dict({k: v.float() for k, v in load_file(str(folder / "model.safetensors")).items()}, strict=False)
    return model.eval()


def save(folder, tensors):
    save_file({k: v.detach().contiguous() for k, v in tensors.items()}, str(folder / "io.safetensors"), metadata={"format": "pt"})


def pattern(side, a, b, c):
    """The 8-bit value at row y, column x, channel k is (a x + b y + c k) mod 256. The tests make the same."""
    y, x = torch.meshgrid(torch.arange(side), torch.arange(side), indexing="ij")
    return torch.stack([(a * x + b * y + c * k) % 256 for k in range(3)])[None].float()


def inception():
    folder = HERE / "inception_v3"
    pf.load_state_dict_from_url = lambda *a, **k: {}
    load, torch.nn.Module.load_state_dict = torch.nn.Module.load_state_dict, lambda *a, **k: None
    with narrow(16):
        net = pf.fid_inception_v3()
    torch.nn.Module.load_state_dict = load
    net = half(net, folder)
    pf.load_state_dict_from_url = lambda *a, **k: net.state_dict()
    with narrow(16):
        blocks = pf.InceptionV3([3], resize_input=False, normalize_input=False).eval()
    spatial = []
    blocks.blocks[2][6].branch1x1.register_forward_hook(lambda m, i, o: spatial.append(o))
    x = (pattern(299, 3, 5, 50) - 128) / 128
    pool = blocks(x)[0].mean((2, 3))
    save(folder, {"out.pool3": pool,
                  "out.logits_unbiased": pool @ net.fc.weight.T,
                  "out.spatial": spatial[0][:, :7].permute(0, 2, 3, 1).flatten(1)})


def mobilenet():
    folder = HERE / "mobilenet_v2"
    with narrow(8):
        net = torchvision.models.mobilenet_v2(weights=None)
    net = half(net, folder, drop=["classifier"])
    x = normal(2, 3, 48, 40)
    save(folder, {"in.image": x, "out.pooled": net.features(x).mean((2, 3))})


def pair(h, w):
    a = uniform(2, 3, h, w, lo=-1, hi=1)
    return a, (a + 0.3 * normal(2, 3, h, w)).clamp(-1, 1)


def full_lpips(net):
    folder = HERE / f"lpips_{net}"
    with narrow(16):
        model = lpips.LPIPS(net=net, pretrained=False, pnet_rand=True, verbose=False)
    model = half(model, folder, drop=["lins.", "scaling_layer"])
    a, b = pair(*{"alex": (33, 40), "vgg": (18, 21)}[net])
    total, layers = model(a, b, retPerLayer=True)
    save(folder, {"in.a": a, "in.b": b, "out.total": total.flatten(),
                  **{f"out.layer{k}": v.flatten() for k, v in enumerate(layers)}})


class ShiftTolerantAlex(torch.nn.Module):
    CONVS = [(1, 0, 3, 64, 11, 2), (2, 5, 64, 192, 5, 2), (3, 9, 192, 384, 3, 1), (4, 11, 384, 256, 3, 1), (5, 13, 256, 256, 3, 1)]

    def __init__(self):
        super().__init__()
        self.net = torch.nn.Module()
        for s, n, i, o, k, p in self.CONVS:
            piece = torch.nn.Module()
            piece.add_module(str(n), torch.nn.Conv2d(i, o, k, padding=p))
            self.net.add_module(f"slice{s}", piece)
            head = torch.nn.Module()
            head.model = torch.nn.Sequential(torch.nn.Identity(), torch.nn.Conv2d(o, 1, 1, bias=False))
            self.add_module(f"lin{s - 1}", head)

    def blur(self, x):
        line = torch.tensor([1.0, 2.0, 1.0])
        kernel = (line[:, None] * line / 16).expand(x.shape[1], 1, 3, 3)
        return F.conv2d(F.pad(x, (2, 2, 2, 2), mode="reflect"), kernel, stride=2, groups=x.shape[1])

    def features(self, x):
        shift, scale = torch.tensor([-0.030, -0.088, -0.188]), torch.tensor([0.458, 0.448, 0.450])
        x = (x - shift.view(1, 3, 1, 1)) / scale.view(1, 3, 1, 1)
        for s, n, *_ in self.CONVS:
            conv = getattr(getattr(self.net, f"slice{s}"), str(n))
            if s in (2, 3):
                x = self.blur(F.max_pool2d(x, 3, stride=1))
            x = F.relu(self.blur(conv(x)) if s == 1 else conv(x))
            yield x

    def forward(self, a, b):
        unit = lambda x: x / (x.square().sum(1, keepdim=True).sqrt() + 1e-10)
        for k, (p, q) in enumerate(zip(self.features(a), self.features(b))):
            weight = getattr(self, f"lin{k}").model[1].weight
            yield ((unit(p) - unit(q)).square() * weight).sum(1).mean((1, 2))


def shift_tolerant():
    folder = HERE / "stlpips_alex"
    with narrow(16):
        model = ShiftTolerantAlex()
    model = half(model, folder)
    a, b = pair(21, 26)
    layers = list(model(a, b))
    save(folder, {"in.a": a, "in.b": b, "out.total": sum(layers), **{f"out.layer{k}": v for k, v in enumerate(layers)}})


if __name__ == "__main__":
    torch.set_num_threads(1)
    with torch.no_grad():
        inception()
        mobilenet()
        full_lpips("alex")
        full_lpips("vgg")
        shift_tolerant()
