"""Programmatic dependent launch: a kernel may start while the one before it still runs (sm_90).

Whatever a kernel of the step wrote, and whatever memory an earlier one may still read, is touched
only after the wait; stores to new tensors too, since the pool gives freed memory out again. Every
program waits, so that a kernel's end implies the ends of all before it.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl


def can_start_early(device: torch.device) -> bool:
    """Whether a device has it."""
    return device.type == "cuda" and torch.cuda.get_device_capability(device) >= (9, 0)


@triton.jit
def wait_for_previous(PDL: tl.constexpr):
    """Holds until what the previous kernels wrote is visible, then lets the next kernel start.

    The next one may read, before its own wait, all that was written before the previous kernel.
    """
    if PDL:
        tl.extra.cuda.gdc_wait()
        tl.extra.cuda.gdc_launch_dependents()


@triton.jit
def start_next_and_wait(PDL: tl.constexpr):
    """As `wait_for_previous`, but the next kernel starts first: it may read weights only."""
    if PDL:
        tl.extra.cuda.gdc_launch_dependents()
        tl.extra.cuda.gdc_wait()
