"""Contexts of every sequence in every step, recovered from what the steps told."""

from speed_steps import step

from workbench.bench.speed_schedule import works_of


def seqs(results, prompts):
    return [
        sorted(zip(work.new_tokens.tolist(), work.contexts.tolist(), strict=True))
        for work in works_of(results, prompts)
    ]


def test_chunks_decodes_and_mixed_steps():
    results = [
        step(0, chunks={7: 6}),
        step(1, chunks={7: 4, 8: 3}, emitted=(7, 8)),
        step(2, emitted=(7, 8)),
        step(3, emitted=(8,)),
    ]
    assert seqs(results, {7: 10, 8: 3}) == [
        [(6, 6)],
        [(3, 3), (4, 10)],
        [(1, 4), (1, 11)],
        [(1, 5)],
    ]
    assert [work.num_samples for work in works_of(results, {7: 10, 8: 3})] == [0, 2, 2, 1]


def test_tokens_from_the_prefix_cache_are_context():
    results = [step(0, chunks={0: 4}), step(1, chunks={0: 2}, emitted=(0,))]
    assert seqs(results, {0: 100}) == [[(4, 98)], [(2, 100)]]


def test_what_is_computed_again_after_a_preemption_ends_with_all_tokens():
    results = [
        step(0, chunks={0: 10}, emitted=(0,)),
        step(1, emitted=(0,)),
        step(2, preempted={0: 11}, chunks={1: 5}, emitted=(1,)),
        step(3, chunks={0: 12}, emitted=(0,)),
        step(4, emitted=(0,)),
    ]
    assert seqs(results, {0: 10, 1: 5}) == [[(10, 10)], [(1, 11)], [(5, 5)], [(12, 12)], [(1, 13)]]


def test_a_prefill_that_is_broken_off_began_at_the_first_token():
    results = [
        step(0, chunks={0: 8}),
        step(1, preempted={0: 8}, chunks={1: 2}, emitted=(1,)),
        step(2, chunks={0: 10}, emitted=(0,)),
        step(3, chunks={2: 3}),
    ]
    assert seqs(results, {0: 10, 1: 2, 2: 9}) == [[(8, 8)], [(2, 2)], [(10, 10)], [(3, 3)]]
