"""Free memory of the host and of the first GPU."""

from __future__ import annotations

import pynvml
import pytest

from profiles.errors import ProfileError
from profiles.free_memory import gpu_memory, host_memory

GIB = 1 << 30


def test_the_host_has_some():
    found = host_memory()
    assert found.device == "cpu" and found.free_bytes > 0


def test_the_first_gpu_is_told_of(fake_nvml, fake_gpu):
    nvml = fake_nvml(fake_gpu(), fake_gpu(uuid="GPU-bbbb2222", name="NVIDIA L40S"))
    found = gpu_memory("all", nvml)
    assert (found.device, found.free_bytes) == ("NVIDIA H200", 121 * GIB)
    assert found.capability == (9, 0)
    assert gpu_memory(["1"], nvml).device == "NVIDIA L40S"
    assert nvml.open_sessions == 0


@pytest.mark.parametrize("gpus", ["all", ["7"]])
def test_no_gpu_is_said(fake_nvml, gpus):
    nvml = fake_nvml()
    with pytest.raises(ProfileError, match=r"knows no GPU|no GPU of this machine is '7'"):
        gpu_memory(gpus, nvml)
    assert nvml.open_sessions == 0


def test_a_driver_that_does_not_tell_is_said(fake_nvml, fake_gpu):
    nvml = fake_nvml(fake_gpu(errors={"memory": pynvml.NVML_ERROR_NO_PERMISSION}))
    with pytest.raises(ProfileError, match="NVMLError_NoPermission"):
        gpu_memory("all", nvml)
    assert nvml.open_sessions == 0
