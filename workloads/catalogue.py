"""The named workloads, each with the published figures that it stands on."""

from __future__ import annotations

from workloads.conversations.plan import ConversationPlan, SharedTexts
from workloads.lengths import Empirical, Fixed, Lognormal, Uniform
from workloads.names import unknown_name
from workloads.workload import DefaultArrivals, Workload


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
    return (
        _chat(),
        _code(),
        _rag(),
        _summarize(),
        _longctx(),
        _burst(),
        _multiturn(),
        _agent(),
    )


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


def _longctx() -> Workload:
    return Workload(
        name="longctx",
        description="a long-context chat assistant: a heavy tail of prompts up to 126K tokens",
        source=(
            "Mooncake conversation trace (kvcache-ai/Mooncake; Qin et al., FAST 2025), computed "
            "from its 12,031 requests: input mean 12035, p50 6909, range 891-126195, a lognormal "
            "with that mean and median; all begin with one block of 512 tokens, the shared prefix; "
            "output mean 343, p50 350, range 1-2000, the means of its twentieths. What the "
            "requests share beyond that block is not modelled: replay the trace for it"
        ),
        input_tokens=Lognormal.from_mean_and_median(
            12_035 - 512, 6_909 - 512, minimum=891 - 512, maximum=126_195 - 512
        ),
        output_tokens=_twentieths(
            "5 17 33 73 128 187 234 275 308 336 363 388 411 435 459 487 523 567 641 986"
        ),
        shared_prefix_tokens=512,
    )


def _burst() -> Workload:
    code = _code()
    return Workload(
        name="burst",
        description="code completion in bursts: 30 s at 4x the rate, then 90 s of silence",
        source=(
            f"{code.source}. Its 8,819 arrivals have gaps of CV 13.15 and none in 73 % of the "
            "seconds, computed from the trace. Poisson arrivals that are off for 90 s and on for "
            "30 s have a CV of 13.1 at the trace's 2.57 requests/s and none in 75 % of the "
            "seconds; at another rate they are what a thinned trace would be"
        ),
        input_tokens=code.input_tokens,
        output_tokens=code.output_tokens,
        arrivals=DefaultArrivals(modulation="square:period=120s,low=0,high=4,duty=0.25,begin=85s"),
    )


def _multiturn() -> Workload:
    return Workload.of_conversations(
        name="multiturn",
        description="a chat assistant over several turns, with the history in every prompt",
        source=(
            "ShareGPT: 94,145 conversations of 3.51 turns on average (Yan et al., "
            "ShareChat, 2025), 73 % of them with more than one (Gao et al., CachedAttention, ATC "
            "2024): a lognormal with that mean and median 2.5 has both. LMSYS-Chat-1M (Zheng et "
            "al., ICLR 2024): 69.5 tokens a prompt and 214.5 a response on average. Set "
            "here: their medians, 25 and 131 (the latter by mean/p50 of the chat trace), gaps of "
            "15 s on average (ServeGen, Xiang et al., 2025, has about 100 s), and 8 system prompts "
            "of 100-400 tokens by Zipf's law"
        ),
        plan=ConversationPlan(
            turns=Lognormal.from_mean_and_median(3.51, 2.5, minimum=1, maximum=40),
            first_tokens=Lognormal.from_mean_and_median(69.5, 25, minimum=1, maximum=4_000),
            user_tokens=Lognormal.from_mean_and_median(69.5, 25, minimum=1, maximum=4_000),
            output_tokens=Lognormal.from_mean_and_median(214.5, 131, minimum=1, maximum=2_000),
            system_prompts=SharedTexts(8, Uniform(100, 400)),
        ),
    )


def _agent() -> Workload:
    return Workload.of_conversations(
        name="agent",
        description="an agent that calls tools: many short turns behind one long system prompt",
        source=(
            "tau-bench, airline, historical trajectories of GPT-4o (Yao et al., 2024; MIT), "
            "computed from 126 sessions in the tokens of SmolLM2, messages without chat template: "
            "one system prompt of 1338 tokens; answers per session mean 12.4, p50 12, range 4-30; "
            "49 % of the later turns bring a tool's result (mean 308, p50 320), the others a "
            "user's message (mean 27; the first 23); answers mean 80, p50 51, calls included. "
            "Lengths are the means of twentieths. Set here: tools take 0.5 s (p50; p90 2 s), users "
            "15 s on average"
        ),
        plan=ConversationPlan(
            turns=_twentieths("5 5 6 6 7 7 9 10 11 11 12 12 13 14 16 17 18 19 22 29"),
            first_tokens=_twentieths("10 12 13 14 15 16 16 18 18 20 21 21 23 25 27 30 33 37 40 45"),
            user_tokens=_twentieths("9 12 15 17 18 19 21 22 23 25 26 27 29 31 32 34 36 39 43 56"),
            tool_share=0.49,
            tool_tokens=_twentieths(
                "1 1 4 6 12 59 233 280 294 303 325 330 338 357 370 392 410 439 507 1500"
            ),
            output_tokens=_twentieths(
                "23 28 30 31 31 33 35 40 47 50 52 57 65 74 85 103 131 159 211 323"
            ),
            system_prompts=SharedTexts(1, Fixed(1_338)),
        ),
    )


def _twentieths(means: str) -> Empirical:
    """The lengths of a trace by the means of its twentieths, so that its mean is kept."""
    return Empirical([int(tokens) for tokens in means.split()])
