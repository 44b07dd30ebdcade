"""The named experiments. A new engine adds its pair here: a function, and its name in
`experiments`."""

from __future__ import annotations

from workbench.errors import SpecError, did_you_mean
from workbench.lab.experiment import Experiment, Setup, Side
from workbench.lab.gpu_pairs import gpu_experiments

ALL = "all"


def experiments() -> tuple[Experiment, ...]:
    """Every experiment, in the order in which listings show them."""
    return (
        _continuous_batching(),
        _batch_size(),
        _prefix_caching(),
        _chunked_prefill(),
        _token_budget(),
        _telemetry(),
        *gpu_experiments(),
    )


def chosen(names: list[str]) -> tuple[Experiment, ...]:
    """The experiments of these names, each once; "all" means every one.

    Raises:
        SpecError: an unknown name; the nearest is named.
    """
    known = {each.name: each for each in experiments()}
    for name in names:
        if name != ALL and name not in known:
            hint = did_you_mean(name, known, cutoff=0.4)
            raise SpecError(f"no experiment {name!r}; {hint}there are {', '.join(known)}, and all")
    if ALL in names:
        return tuple(known.values())
    return tuple(known[name] for name in dict.fromkeys(names))


def _continuous_batching() -> Experiment:
    return Experiment(
        name="continuous-batching",
        title="continuous against static batching",
        claim=(
            "A static batch runs until its longest answer ends, and whoever comes meanwhile waits "
            "for all of it. Taking requests in and out at every step gives more output per second "
            "and an earlier first token. Answers differ in length by up to 16 times here."
        ),
        source=(
            "Yu et al., Orca, OSDI 2022: 36.9 times the throughput of FasterTransformer at the "
            "same latency, GPT-3 175B on A100s. Its engine differs in more than the batching, "
            "which is all that differs here"
        ),
        baseline=Side("static", {"engine": {"batching": "static"}}),
        optimised=Side("continuous", {"engine": {"batching": "continuous"}}),
        cpu=Setup(
            {
                "engine": {"max_num_seqs": 16},
                "traffic": {
                    "concurrency": 24, "input_tokens": "16..48", "output_tokens": "8..128",
                    "duration": 45.0, "warmup": 8.0,
                },
            },
            ("output_throughput > +20%", "ttft_p50 < -50%"),
        ),
        cuda=Setup(
            {
                "engine": {"max_num_seqs": 64},
                "traffic": {
                    "concurrency": 96, "input_tokens": "128..512", "output_tokens": "32..512",
                    "duration": 45.0, "warmup": 8.0,
                },
            },
            ("output_throughput > +30%", "ttft_p50 < -50%"),
        ),
    )  # fmt: skip


def _batch_size() -> Experiment:
    return Experiment(
        name="batch-size",
        title="many sequences in a step against one",
        claim=(
            "A decode step reads every weight once, however many sequences share it: a large "
            "batch costs each user some speed and gives many times the output per second."
        ),
        source=(
            "Pope et al., Efficiently Scaling Transformer Inference, MLSys 2023: memory-bound at "
            "small batches, PaLM on TPU v4; Kwon et al., vLLM, SOSP 2023: 2-4 times the throughput "
            "of FasterTransformer and Orca at the same latency, by the larger batches that paged "
            "memory allows, OPT and LLaMA of 13B to 175B on A100"
        ),
        baseline=Side("one", {"engine": {"max_num_seqs": 1}}),
        optimised=Side("many", {}),
        cpu=Setup(
            {
                "traffic": {
                    "concurrency": 16, "input_tokens": "16..32", "output_tokens": "32..64",
                    "duration": 45.0, "warmup": 8.0,
                },
            },
            ("output_throughput > +200%", "tpot_p50 > +20%"),
            optimised={"engine": {"max_num_seqs": 16}},
        ),
        cuda=Setup(
            {
                "traffic": {
                    "concurrency": 24, "input_tokens": "128..512", "output_tokens": "64..128",
                    "duration": 45.0, "warmup": 8.0,
                },
            },
            ("output_throughput > +400%", "tpot_p50 > +20%"),
            optimised={"engine": {"max_num_seqs": 24}},
        ),
    )  # fmt: skip


def _prefix_caching() -> Experiment:
    return Experiment(
        name="prefix-caching",
        title="the prefix cache on against off",
        claim=(
            "Prompts that begin alike need that part computed once: the first token of a question "
            "about a document that was asked about before comes after the question's own prefill. "
            "Three documents here, several times as long as the questions."
        ),
        source=(
            "Zheng et al., SGLang (RadixAttention), NeurIPS 2024: up to 6.4 times the throughput "
            "of the systems of its time, over agents, few-shot prompts, retrieval and chats on "
            "A10G and A100 GPUs; vLLM does the same by hashes of blocks"
        ),
        baseline=Side("no-cache", {"engine": {"prefix_caching": False}}),
        optimised=Side("cache", {"engine": {"prefix_caching": True}}),
        cpu=Setup(
            {
                "traffic": {
                    "rate": 0.35, "documents": 3, "document_tokens": "800",
                    "input_tokens": "32..64", "output_tokens": "16",
                    "duration": 60.0, "warmup": 12.0,
                },
            },
            ("ttft_p50 < -60%", "e2e_p50 < -30%"),
        ),
        cuda=Setup(
            {
                "traffic": {
                    "rate": 2.0, "documents": 3, "document_tokens": "6000",
                    "input_tokens": "64..256", "output_tokens": "64",
                    "duration": 45.0, "warmup": 8.0,
                },
            },
            ("ttft_p50 < -25%", "e2e_p50 < -0%"),
        ),
    )  # fmt: skip


def _chunked_prefill() -> Experiment:
    return Experiment(
        name="chunked-prefill",
        title="prompts in chunks beside decodes against whole prompts",
        claim=(
            "A whole long prompt in one step stops every answer that is being written for as long "
            "as it takes; in chunks, each stop is as long as a chunk. The worst gaps between "
            "tokens shrink, and output per second stays. The first token of a long prompt may "
            "come later for it."
        ),
        source=(
            "Agrawal et al., Sarathi-Serve, OSDI 2024: 2.6 times the capacity of vLLM under a "
            "limit on the tail of the time between tokens, Mistral-7B on one A100, and up to 5.6 "
            "times, Falcon-180B on 8 of them with pipeline stages; here the tail itself, at equal "
            "load"
        ),
        baseline=Side("whole", {"engine": {"chunked_prefill": False}}),
        optimised=Side("chunked", {"engine": {"chunked_prefill": True}}),
        cpu=Setup(
            {
                "engine": {"max_model_len": 2048, "prefix_caching": False},
                "traffic": {
                    "concurrency": 4, "input_tokens": "400..1000", "output_tokens": "48..80",
                    "duration": 45.0, "warmup": 8.0,
                },
            },
            ("itl_p99 < -40%", "output_throughput > -10%"),
            baseline={"engine": {"max_num_batched_tokens": 2048}},
            optimised={"engine": {"max_num_batched_tokens": 256}},
        ),
        cuda=Setup(
            {
                "engine": {"max_model_len": 8192, "prefix_caching": False},
                "traffic": {
                    "concurrency": 16, "input_tokens": "4000..7000", "output_tokens": "128..256",
                    "duration": 45.0, "warmup": 8.0,
                },
            },
            ("itl_p99 < -20%", "output_throughput > -10%"),
            baseline={"engine": {"max_num_batched_tokens": 8192}},
            optimised={"engine": {"max_num_batched_tokens": 1024}},
        ),
    )  # fmt: skip


def _token_budget() -> Experiment:
    return Experiment(
        name="token-budget",
        title="a small token budget of a step against a large one",
        claim=(
            "The budget sets how long a step with a chunk in it takes: a small one makes the "
            "worst gaps between tokens shorter, and the first token of a prompt comes later."
        ),
        source=(
            "Agrawal et al., Sarathi-Serve, OSDI 2024: budgets of 512 and 2048 tokens for strict "
            "and relaxed limits on the time between tokens, chosen by profiling; no ratio is given"
        ),
        baseline=Side("large", {}),
        optimised=Side("small", {}),
        cpu=Setup(
            {
                "engine": {"max_model_len": 2048, "prefix_caching": False},
                "traffic": {
                    "concurrency": 4, "input_tokens": "400..1000", "output_tokens": "48..80",
                    "duration": 45.0, "warmup": 8.0,
                },
            },
            ("itl_p99 < -30%", "ttft_p50 > +0%"),
            baseline={"engine": {"max_num_batched_tokens": 512}},
            optimised={"engine": {"max_num_batched_tokens": 128}},
        ),
        cuda=Setup(
            {
                "engine": {"max_model_len": 8192, "prefix_caching": False},
                "traffic": {
                    "concurrency": 16, "input_tokens": "4000..7000", "output_tokens": "128..256",
                    "duration": 45.0, "warmup": 8.0,
                },
            },
            ("itl_p99 < -30%", "ttft_p50 > +0%"),
            baseline={"engine": {"max_num_batched_tokens": 2048}},
            optimised={"engine": {"max_num_batched_tokens": 512}},
        ),
    )  # fmt: skip


def _telemetry() -> Experiment:
    return Experiment(
        name="telemetry",
        title="telemetry and ranges against none",
        claim=(
            "Watching costs at most 1 % of the output: GPU, process and host are sampled at 10 Hz "
            "by a thread of its own. It takes a quiet machine to show so little."
        ),
        source="this program's own claim, docs/measurements.md",
        baseline=Side("none", {"profile": "none"}),
        optimised=Side("minimal", {"profile": "minimal"}),
        cpu=Setup(
            {
                "traffic": {
                    "concurrency": 8, "input_tokens": "64", "output_tokens": "64",
                    "duration": 45.0, "warmup": 8.0,
                },
            },
            ("output_throughput > -1%",),
        ),
        cuda=Setup(
            {
                "traffic": {
                    "concurrency": 32, "input_tokens": "256", "output_tokens": "256",
                    "duration": 45.0, "warmup": 8.0,
                },
            },
            ("output_throughput > -1%",),
        ),
        repeats=10,
    )  # fmt: skip
