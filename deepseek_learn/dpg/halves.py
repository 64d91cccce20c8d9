"""Do both halves of the calibration inputs tell the same about the rows of a matrix?"""

from torch import Tensor

PARTS = 16  # an even number of sums, from which those of the two halves follow
MAX_SHRINKAGE = 0.2  # see `Statistics`


def shrinkage(estimates: float, positions: int) -> float:
    """Return how far to move that many estimates from M positions; see `Statistics`."""
    return min(MAX_SHRINKAGE, estimates / positions) if positions else 0.0


def consistent(first: Tensor, second: Tensor, share: float) -> bool:
    r"""Return whether either half of the data tells which rows matter in the other one.

    Bits that are right for the gradients :math:`g` of one half make the damage to row j
    proportional to :math:`1 / g_j`. With the gradients :math:`h` of the other half, it
    costs

    .. math:: \Bigl(\prod_j g_j\Bigr)^{1/N} \cdot \tfrac1N \sum_j h_j / g_j,

    and with equal bits for all rows, :math:`\tfrac1N \sum_j h_j`. The halves agree if
    the first costs no more, on the geometric mean of both directions.

    Args:
        first, second: the squared gradients in each half, of shape `[N]`.
        share: how far `g` is moved toward its mean beforehand.
    """
    if not (first.sum() > 0 and second.sum() > 0):
        return True
    excess = 0.0
    for g, h in ((first.double(), second.double()), (second.double(), first.double())):
        # a row without any gradient in one half would make h / g infinite
        g = g.lerp(g.mean(), share).clamp_min(1e-30 * g.mean())
        excess += float(g.log().mean() + (h / g).mean().log() - h.mean().log())
    return excess <= 0


class Halves:
    """Sums over the first and the second half of the batches, however many there are.

    At most `PARTS` sums are kept, each over the same number of consecutive batches.
    Should there be more, neighbors are added up.
    """

    def __init__(self) -> None:
        self.parts: list[Tensor] = []
        self.size, self.batches = 1, 0  # batches in a part, and in all
        self.latest = 0  # the number of the last batch

    def add(self, x: Tensor, batch: int) -> None:
        """Add what one call of the layer contributes to the batch of this number."""
        is_new, self.latest = batch != self.latest, batch
        if not is_new or self.batches % self.size:
            self.parts[-1].add_(x)  # the same batch again, or one of the same part
        else:
            # full: merge neighbors, whose first half are still the first of the batches
            if len(self.parts) == PARTS:
                pairs = zip(self.parts[::2], self.parts[1::2], strict=True)
                self.parts = [a + b for a, b in pairs]
                self.size *= 2
            self.parts.append(x.clone())  # later calls add to it in place
        self.batches += is_new

    def agree(self, share: float) -> bool:
        """Return whether the halves are `consistent`; of a single part, it is True."""
        middle = len(self.parts) // 2
        if not middle:
            return True
        first, second = self.parts[:middle], self.parts[middle:]
        return consistent(sum(first[1:], first[0]), sum(second[1:], second[0]), share)
