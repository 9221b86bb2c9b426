"""The operations that a computation runs, and those that CUDA cannot repeat to the bit."""

from torch.utils._python_dispatch import TorchDispatchMode

# What torch.use_deterministic_algorithms refuses on CUDA, by its documentation in torch 2.11
# (https://docs.pytorch.org/docs/2.11/generated/torch.use_deterministic_algorithms.html).
NOT_DETERMINISTIC = {
    *(
        f"{name}_backward"
        for name in ("avg_pool3d", "_adaptive_avg_pool2d", "_adaptive_avg_pool3d")
    ),
    *(f"{name}_backward" for name in ("max_pool3d_with_indices", "adaptive_max_pool2d")),
    *(f"fractional_max_pool{d}d_backward" for d in (2, 3)),
    *(f"max_unpool{d}d" for d in (2, 3)),  # that of one dimension is made of that of two
    *(f"upsample_{kind}_backward" for kind in ("linear1d", "bilinear2d", "bicubic2d")),
    "upsample_trilinear3d_backward",
    *(f"reflection_pad{d}d_backward" for d in (1, 2, 3)),
    *("nll_loss2d_forward", "nll_loss2d_backward", "_ctc_loss_backward"),
    "_embedding_bag_dense_backward",
    *("put", "put_", "histc", "bincount", "median", "nanmedian", "cumsum", "cumsum_"),
    *(f"grid_sampler_{d}d_backward" for d in (2, 3)),
    *("scatter_reduce", "scatter_reduce_", "resize_"),
}


class Operations(TorchDispatchMode):
    """Collects the names of the operations run within, backward passes included."""

    def __init__(self):
        super().__init__()
        self.names = set()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.names.add(func.overloadpacket.__name__)
        return func(*args, **(kwargs or {}))

    @property
    def not_deterministic(self):
        return self.names & NOT_DETERMINISTIC
