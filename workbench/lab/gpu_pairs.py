"""The named experiments about the engine on a GPU: one switch each, docs/speed.md."""

from __future__ import annotations

from workbench.lab.experiment import Experiment, Setup, Side

_SMALL, _LARGE = "random:qwen3-0.6b", "random:llama-3.1-8b"
_SECONDS = {"duration": 10.0}  # a tenth of it is warm-up


def gpu_experiments() -> tuple[Experiment, ...]:
    """Every one of them; none has a setup for a CPU."""
    return (
        _cuda_graphs(),
        _overlap(),
        _attention_backend(),
        _fused_kernels(),
        _fp8_weights(),
        _fp8_kv(),
    )


def _cuda_graphs() -> Experiment:
    return Experiment(
        name="cuda-graphs",
        title="captured decode steps against launched ones",
        claim=(
            "A decode step of a small model is hundreds of short kernels, and the host takes "
            "longer to launch them than the GPU to run them. A captured graph is one launch."
        ),
        source=(
            "Fireworks AI, Speed, Python: Pick Two, 2023: 2.3 times the speed of LLaMA 2 "
            "inference; the smaller the model and the faster the GPU, the more there is to gain"
        ),
        baseline=Side("launched", {"engine": {"cuda_graphs": False}}),
        optimised=Side("graphs", {"engine": {"cuda_graphs": True}}),
        cpu=None,
        cuda=Setup(
            {
                "model": {"name": _SMALL},
                "traffic": {
                    "concurrency": 8, "input_tokens": "64..256", "output_tokens": "256..512",
                    **_SECONDS,
                },
            },
            ("tpot_p50 < -30%", "output_throughput > +30%"),
        ),
    )  # fmt: skip


def _overlap() -> Experiment:
    return Experiment(
        name="overlap",
        title="the next step planned while this one runs, against in turn",
        claim=(
            "Between two steps the GPU waits for the host to take the tokens, plan and upload. "
            "Planned one step ahead, the next step is there when the GPU is free."
        ),
        source=(
            "SGLang v0.4, 2024: 1.1 times the throughput by a scheduler that runs one batch ahead; "
            "an engine that doesn't care may spend half of its time on the CPU's part"
        ),
        baseline=Side("in-turn", {"engine": {"overlap": False}}),
        optimised=Side("overlapped", {"engine": {"overlap": True}}),
        cpu=None,
        cuda=Setup(
            {
                "model": {"name": _SMALL},
                "traffic": {
                    "concurrency": 128, "input_tokens": "64..256", "output_tokens": "256..512",
                    **_SECONDS,
                },
            },
            ("output_throughput > +3%", "tpot_p50 < -3%"),
        ),
    )  # fmt: skip


def _attention_backend() -> Experiment:
    return Experiment(
        name="attention-backend",
        title="attention over blocks where they lie against gather and SDPA",
        claim=(
            "The reference copies each sequence's keys and values together before it attends, "
            "which reads and writes them once more. A paged kernel reads them where they lie, long "
            "contexts in parts at once. Other kernels and the loop are the reference's on both "
            "sides."
        ),
        source=(
            "Kwon et al., vLLM, SOSP 2023: the kernel over blocks, up to 26 % slower than one "
            "over a dense cache; Dao et al., Flash-Decoding, 2023: up to 8 times the speed of "
            "generation on very long contexts, by parts that are attended at once"
        ),
        baseline=Side("gather", {"engine": {"attention": "reference"}}),
        optimised=Side("paged", {"engine": {"attention": "triton"}}),
        cpu=None,
        cuda=Setup(
            {
                "model": {"name": _SMALL},
                "engine": {"kernels": "reference", "cuda_graphs": False, "overlap": False},
                "traffic": {
                    "concurrency": 64, "input_tokens": "2000..4000", "output_tokens": "128..256",
                    **_SECONDS,
                },
            },
            ("tpot_p50 < -15%", "output_throughput > +15%"),
        ),
    )  # fmt: skip


def _fused_kernels() -> Experiment:
    return Experiment(
        name="fused-kernels",
        title="fused norms, rotary and SwiGLU against torch's own kernels",
        claim=(
            "What lies between the matrix products only moves memory. Fused, each value is read "
            "and written once instead of at every operation. Long prompts and short answers, so "
            "that the GPU is the limit, and both sides without graphs."
        ),
        source=(
            "Hsu et al., Liger Kernel, 2024: 20 % more throughput on average by Triton kernels for "
            "RMSNorm, rotary, SwiGLU and the loss, in training; inference has no loss and no "
            "backward pass"
        ),
        baseline=Side("torch", {"engine": {"kernels": "reference"}}),
        optimised=Side("fused", {"engine": {"kernels": "fused"}}),
        cpu=None,
        cuda=Setup(
            {
                "model": {"name": _SMALL},
                "engine": {"attention": "triton", "cuda_graphs": False, "overlap": False},
                "traffic": {
                    "concurrency": 32, "input_tokens": "2000..4000", "output_tokens": "16",
                    **_SECONDS,
                },
            },
            ("output_throughput > +3%",),
        ),
    )  # fmt: skip


def _fp8_weights() -> Experiment:
    return Experiment(
        name="fp8-weights",
        title="the MLPs' matrices in FP8 against bfloat16",
        claim=(
            "A decode step at a small batch reads every weight once, and little else: half the "
            "bytes take little more than half the time. These are the MLPs' matrices of all layers "
            "but the first and the last, two thirds of Llama-3.1-8B; the rest stays in bfloat16."
        ),
        source=(
            "vLLM's documentation, FP8 W8A8: half the memory and up to 1.6 times the throughput, "
            "on Ada and Hopper GPUs"
        ),
        baseline=Side("bf16", {"model": {"quantization": "none"}}),
        optimised=Side("fp8", {"model": {"quantization": "fp8"}}),
        cpu=None,
        cuda=Setup(
            {
                "model": {"name": _LARGE},
                "traffic": {
                    "concurrency": 16, "input_tokens": "128..512", "output_tokens": "128..256",
                    **_SECONDS,
                },
            },
            ("tpot_p50 < -15%", "output_throughput > +15%"),
        ),
    )  # fmt: skip


def _fp8_kv() -> Experiment:
    return Experiment(
        name="fp8-kv",
        title="the KV cache in FP8 against bfloat16",
        claim=(
            "Each decoded token reads all keys and values before it; at long contexts and many "
            "sequences these are more bytes than the weights. In FP8 they are about half, and "
            "twice as many tokens fit. Qwen3-0.6B has nearly as many of them per token as an 8B "
            "model, and a thirteenth of its weights."
        ),
        source=(
            "vLLM, The State of FP8 KV-Cache and Attention Quantization: down to 54 % of the cost "
            "per token of context, and 15 % more output under load, Llama-3.1-8B on Hopper, where "
            "it pays from about 7,000 tokens of context"
        ),
        baseline=Side("bf16", {"engine": {"kv_dtype": "auto"}}),
        optimised=Side("fp8", {"engine": {"kv_dtype": "fp8"}}),
        cpu=None,
        cuda=Setup(
            {
                "model": {"name": _SMALL},
                "traffic": {
                    "concurrency": 64, "input_tokens": "6000..7000", "output_tokens": "512..1024",
                    "duration": 20.0, "warmup": 6.0,
                },
            },
            ("tpot_p50 < -10%", "output_throughput > +10%"),
        ),
    )  # fmt: skip
