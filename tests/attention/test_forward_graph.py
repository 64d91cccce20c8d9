"""Which forwards have one certain way to run, and which have none."""

from torch import nn

from deepseek_learn.attention.forward_graph import forward_graph


class Plain(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(4, 4)

    def forward(self, x):
        return self.layer(x).relu()


class OwnCall(Plain):
    def __call__(self, x):
        return super().__call__(x) + 1


class Optional(Plain):
    def forward(self, x, scale=1):
        return self.layer(x) * scale


def test_a_plain_forward_is_read():
    steps = [str(node.target) for node in forward_graph(Plain()).nodes]
    assert steps == ["x", "layer", "relu", "output"]


def test_a_replaced_forward_is_uncertain():
    module = Plain()
    module.forward = lambda x: x
    assert forward_graph(module) is None


def test_a_call_of_its_own_is_uncertain():
    assert forward_graph(OwnCall()) is None


def test_an_optional_argument_is_uncertain():
    assert forward_graph(Optional()) is None
