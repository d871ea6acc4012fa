"""The readers of image sets, where they were at first: see `fastgd.datasets.images`."""

from .datasets.images import Images, load_cifar10, load_mnist, read_idx

__all__ = ["Images", "load_cifar10", "load_mnist", "read_idx"]
