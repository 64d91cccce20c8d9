"""Answers to `learn_from_a_teacher`: the starter, right ones and wrong ones."""

# %% starter
def loss(logits, teacher, labels, hard):
    ...

# %% solution
import torch.nn.functional as F


def loss(logits, teacher, labels, hard):
    target = hard * labels + (1 - hard) * teacher.detach().sigmoid()
    return F.binary_cross_entropy_with_logits(logits, target.to(logits))

# %% right: with softplus
import torch
import torch.nn.functional as F


def loss(logits, teacher, labels, hard):
    with torch.no_grad():
        t = hard * labels.to(logits) + (1 - hard) * torch.sigmoid(teacher)
    return (F.softplus(logits) - t * logits).mean()

# %% right: two losses
import torch.nn.functional as F


def loss(logits, teacher, labels, hard):
    to_labels = F.binary_cross_entropy_with_logits(logits, labels.to(logits))
    to_teacher = F.binary_cross_entropy_with_logits(logits, teacher.detach().sigmoid())
    return hard * to_labels + (1 - hard) * to_teacher

# %% right: two classes
import torch
import torch.nn.functional as F


def loss(logits, teacher, labels, hard):
    p = hard * labels + (1 - hard) * torch.sigmoid(teacher.detach())
    both = torch.stack([torch.zeros_like(logits), logits], 1)
    return F.cross_entropy(both, torch.stack([1 - p, p], 1).to(both))

# %% wrong: the sum
import torch.nn.functional as F


def loss(logits, teacher, labels, hard):
    target = hard * labels + (1 - hard) * teacher.detach().sigmoid()
    return F.binary_cross_entropy_with_logits(logits, target.to(logits), reduction="sum")

# %% wrong: the weights are swapped
import torch.nn.functional as F


def loss(logits, teacher, labels, hard):
    target = (1 - hard) * labels + hard * teacher.detach().sigmoid()
    return F.binary_cross_entropy_with_logits(logits, target.to(logits))

# %% wrong: a logit is no probability
import torch.nn.functional as F


def loss(logits, teacher, labels, hard):
    target = hard * labels + (1 - hard) * teacher.detach()
    return F.binary_cross_entropy_with_logits(logits, target.to(logits))

# %% wrong: the teacher's verdict
import torch.nn.functional as F


def loss(logits, teacher, labels, hard):
    target = hard * labels + (1 - hard) * (teacher.detach() > 0)
    return F.binary_cross_entropy_with_logits(logits, target.to(logits))

# %% wrong: infinite
import torch


def loss(logits, teacher, labels, hard):
    t = hard * labels + (1 - hard) * torch.sigmoid(teacher.detach())
    p = torch.sigmoid(logits)
    return -(t * p.log() + (1 - t) * (1 - p).log()).mean()

# %% wrong: clipped, so that nothing is learned from sure mistakes
import torch


def loss(logits, teacher, labels, hard):
    t = hard * labels + (1 - hard) * torch.sigmoid(teacher.detach())
    p = torch.sigmoid(logits).clamp(1e-7, 1 - 1e-7)
    return -(t * p.log() + (1 - t) * (1 - p).log()).mean()

# %% wrong: the teacher learns
import torch.nn.functional as F


def loss(logits, teacher, labels, hard):
    target = hard * labels + (1 - hard) * teacher.sigmoid()
    return F.binary_cross_entropy_with_logits(logits, target.to(logits))

# %% wrong: the student does not learn
import torch.nn.functional as F


def loss(logits, teacher, labels, hard):
    target = hard * labels + (1 - hard) * teacher.sigmoid()
    return F.binary_cross_entropy_with_logits(logits, target.to(logits)).detach()
