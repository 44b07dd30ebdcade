"""Requests in flight over time, as recorded and at the first ones' speed."""

from __future__ import annotations

from workbench.analysis.in_flight import InFlight

MS = 1_000_000


def request(scheduled, **changes):
    """A request in ms: 10 to the first token, 20 for ten more."""
    stamps = {
        "scheduled": scheduled, "first_token": scheduled + 10, "last_token": scheduled + 30,
        "finished": scheduled + 30,
    }  # fmt: skip
    return stamps | {"output_tokens": 11, "first_tokens": 1} | changes


def test_a_request_is_in_flight_from_its_arrival_until_it_ends(requests_frame):
    frame = requests_frame(
        request(10, finished=30),
        request(0, finished=20),
        request(25, finished=None, status="running"),
    )
    found = InFlight.of(frame).at([-1, 0, 10 * MS, 20 * MS, 25 * MS, 30 * MS, 10**15])
    assert found.tolist() == [0, 1, 2, 1, 2, 1, 1]


def test_at_the_first_speed_what_comes_later_is_as_fast(requests_frame):
    """The first two of eight take 10 ms and then 2 ms a token; the later ones took 500 ms."""
    rows = [
        request(10 * i, last_token=end, finished=end) for i, end in enumerate([30, 40, *[500] * 6])
    ]
    as_first = InFlight.at_first_speed(requests_frame(*rows), 10**15)
    assert as_first.at([0, 75 * MS, 99 * MS, 100 * MS]).tolist() == [1, 3, 1, 0]
    early = InFlight.at_first_speed(requests_frame(*rows), 55 * MS)
    assert early.at([55 * MS, 10**15]).tolist() == [3, 0]


def test_what_is_cut_short_counts_with_all_its_tokens_and_what_failed_with_its_time(
    requests_frame,
):
    quick = {"output_tokens": 11, "max_tokens": 101}
    rows = [
        *(request(i, first_token=i + 10, last_token=i + 30, finished=i + 30, **quick)
          for i in range(2)),
        request(2, first_token=12, last_token=20, finished=20, status="unfinished", **quick),
        request(3, finished=77, status="failed", **quick),
        request(4, finished=None, status="running", **quick),
    ]  # fmt: skip
    as_first = InFlight.at_first_speed(requests_frame(*rows), 10**15)
    times_ms = [32, 76, 77, 211, 212]
    assert as_first.at([ms * MS for ms in times_ms]).tolist() == [2, 2, 1, 1, 0]


def test_without_two_answers_there_is_no_speed(requests_frame):
    frame = requests_frame(request(0), *(request(i, status="failed") for i in (1, 2, 3)))
    assert InFlight.at_first_speed(frame, 10**15) is None
