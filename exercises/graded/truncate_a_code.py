import torch


def read_high(codes, scale):
    high = (codes >> 4).float()
    return scale * (16 * high + 7.5 - 128)
