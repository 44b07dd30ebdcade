"""The named workloads, each with the published figures that it stands on."""

from __future__ import annotations

from workloads.lengths import Lognormal, Uniform
from workloads.names import unknown_name
from workloads.workload import Workload


def workload(name: str) -> Workload:
    """The workload called `name`.

    Raises `WorkloadError` for an unknown name; every name is listed, the nearest first.
    """
    known = {each.name: each for each in workloads()}
    if name not in known:
        raise unknown_name("workload", name, known)
    return known[name]


def workloads() -> tuple[Workload, ...]:
    """Every workload of the catalogue, in the order in which listings show them."""
    return (_chat(), _code(), _rag(), _summarize())


def _chat() -> Workload:
    return Workload(
        name="chat",
        description="a chat assistant: middling prompts, long answers",
        source=(
            "Azure LLM inference trace 2023, conversation (Azure/AzurePublicDataset; Patel et al., "
            "Splitwise, ISCA 2024): input mean 1155, p50 1020, range 2-14050; output mean 211, "
            "p50 129, range 7-1000; lognormals with that mean and median"
        ),
        input_tokens=Lognormal.from_mean_and_median(1155, 1020, minimum=2, maximum=14_050),
        output_tokens=Lognormal.from_mean_and_median(211, 129, minimum=7, maximum=1_000),
    )


def _code() -> Workload:
    return Workload(
        name="code",
        description="code completion: long prompts, very short answers",
        source=(
            "Azure LLM inference trace 2023, code (Azure/AzurePublicDataset; Patel et al., "
            "Splitwise, ISCA 2024): input mean 2048, p50 1469, range 3-7437; output mean 28, "
            "p50 13, range 6-1899; lognormals with that mean and median"
        ),
        input_tokens=Lognormal.from_mean_and_median(2048, 1469, minimum=3, maximum=7_437),
        output_tokens=Lognormal.from_mean_and_median(28, 13, minimum=6, maximum=1_899),
    )


def _rag() -> Workload:
    return Workload(
        name="rag",
        description="multi-hop questions over retrieved passages: long prompts, terse answers",
        source=(
            "Ray et al., METIS, SOSP 2025, table 1, Musique: input 1K-5K tokens, output 5-20; "
            "only ranges are published, so every length within them is taken as equally likely"
        ),
        input_tokens=Uniform(1_000, 5_000),
        output_tokens=Uniform(5, 20),
    )


def _summarize() -> Workload:
    return Workload(
        name="summarize",
        description="summaries of scientific papers: very long prompts, middling answers",
        source=(
            "Agrawal et al., Sarathi-Serve, OSDI 2024, table 2, arxiv_summarization: input p50 "
            "7059, p90 12985; output p50 208, p90 371; lognormals through both percentiles, "
            "clipped so that no request exceeds the 16384 tokens that the paper allows"
        ),
        input_tokens=Lognormal.from_median_and_p90(7059, 12_985, minimum=128, maximum=15_360),
        output_tokens=Lognormal.from_median_and_p90(208, 371, minimum=8, maximum=1_024),
    )
