"""Small networks with random weights, and inputs for them."""

import torch
from torch import Tensor, nn

from deepseek_learn.lm import Decoder


def mlp(seed: int = 0, width: int = 40) -> nn.Sequential:
    """20 features → 5 classes; sizes that are not multiples of blocks or groups."""
    torch.manual_seed(seed)
    parts = [nn.Linear(20, width), nn.ReLU(), nn.Dropout(0.5), nn.Linear(width, 5)]
    return nn.Sequential(*parts).eval()


def features(count: int = 30, seed: int = 1, columns: int = 20) -> Tensor:
    """`[count, columns]` with correlated columns."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(count, columns, generator=generator)
    return x + x.roll(1, 1) + 0.5 * x.roll(2, 1)


class Net(nn.Module):
    """`[B, 3, H, W]` → 4 classes: norms, a branch, in-place ReLU, a grouped layer."""

    def __init__(self, inplace: bool = True):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 12, 3, padding=1, bias=False)
        self.norm1 = nn.BatchNorm2d(12)
        self.relu = nn.ReLU(inplace=inplace)
        self.conv2 = nn.Conv2d(12, 20, (3, 5), (2, 1), (1, 2))
        self.grouped = nn.Conv2d(20, 20, 3, padding=1, groups=20)
        self.shortcut = nn.Conv2d(12, 20, 1, (2, 1), bias=False)
        self.norm2 = nn.BatchNorm2d(20)
        self.head = nn.Linear(20, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = self.relu(self.norm1(self.conv1(x)))
        y = self.relu(self.conv2(x))
        y = self.relu(self.grouped(y) + self.norm2(self.shortcut(x)))
        return self.head(y.mean((2, 3)))


def net(seed: int = 0, inplace: bool = True) -> Net:
    torch.manual_seed(seed)
    model = Net(inplace).eval()
    for norm in (model.norm1, model.norm2):
        norm.running_mean.normal_(std=0.3)
        norm.running_var.uniform_(0.5, 2)
        nn.init.normal_(norm.bias, std=0.3)
    return model


def pictures(count: int = 6, seed: int = 1, size: tuple[int, int] = (8, 7)) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(count, 3, *size, generator=generator)


def resnet(seed: int = 0) -> nn.Module:
    import torchvision  # takes a second, and subprocesses need only the rest

    torch.manual_seed(seed)
    return torchvision.models.resnet18(num_classes=10).eval()


VOCAB = 11


def decoder(seed: int = 0, tied: bool = False) -> Decoder:
    torch.manual_seed(seed)
    model = Decoder(vocab=VOCAB, dim=16, layers=2, heads=4, context=12)
    if tied:
        model.head.weight = model.token.weight
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.2)
    return model.eval()


def tokens(count: int = 6, seed: int = 1) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(VOCAB, (count, 12), generator=generator)


class Twice(nn.Module):
    """One layer under two names, used twice in one forward."""

    def __init__(self):
        super().__init__()
        self.first = nn.Linear(20, 20)
        self.second = self.first
        self.head = nn.Linear(20, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.second(torch.relu(self.first(x))))


def twice(seed: int = 0) -> Twice:
    torch.manual_seed(seed)
    return Twice().eval()


class Waves(nn.Module):
    """`[B, 3, H, W]` → 4 classes, with 1-dimensional and 3-dimensional convolutions."""

    def __init__(self):
        super().__init__()
        self.one = nn.Conv1d(3, 10, 5, 2, 2, 2)
        self.three = nn.Conv3d(2, 6, (3, 2, 1), (2, 1, 1), (1, 0, 1), bias=False)
        self.head = nn.Linear(6, 4)

    def forward(self, x: Tensor) -> Tensor:
        y = torch.relu(self.one(x.flatten(2)))  # [B, 10, L]
        y = self.three(y.view(len(x), 2, 5, -1, 2))
        return self.head(y.mean((2, 3, 4)))


def waves(seed: int = 0) -> Waves:
    torch.manual_seed(seed)
    return Waves().eval()


def waveforms(count: int = 6) -> Tensor:
    return pictures(count, size=(8, 8))
