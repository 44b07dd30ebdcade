import pytest
from in_memory import record

from workbench.comparison.fairness import fairness_notes
from workbench.comparison.records import SideRecords
from workbench.comparison.setting_differences import Setting


def run(*, load=(0.5, 0.5, 0.5), knobs=(), engine="cpu", cores=8, **summary):
    """`run.json` of a run without anything to remark."""
    by_status = dict.fromkeys(("ok", "failed", "cancelled", "rejected", "unfinished"), 0)
    plain = {
        "requests": {"measured": 200, "fitted": 0, "by_status": by_status | {"ok": 200}},
        "load": {"fell_behind": False, "in_flight_start": 3, "in_flight_end": 4},
        "lengths": {"input_tokens": {"mean": 100.0}, "output_tokens": {"mean": 50.0}},
        "devices": {"host": {"host_cpu_percent": 25.0, "process_cpu_percent": 180.0}},
    }
    for part, figures in summary.items():
        plain[part] = plain[part] | figures
    return {
        "name": "one",
        "engine": {"device": engine},
        "environment": {"load_average": list(load), "hardware": {"logical_cores": cores}},
        "knobs": list(knobs),
        "summary": plain,
    }


def notes(*sides, settings=()):
    """Notes on sides A, B, … of these runs."""
    records = [
        SideRecords(label, tuple(record(f"{label}{n}", run, {}) for n, run in enumerate(side)))
        for label, side in zip("ABCD", sides, strict=False)
    ]
    return fairness_notes(records, settings)


def only(found, *, loud=True, kind="fairness"):
    (note,) = found
    assert (note.kind, note.loud) == (kind, loud)
    return note.text


def said(*settings, **how):
    return only(notes([run()], [run()], settings=settings), **how)


def test_alike_sides_need_no_note():
    assert notes([run()], [run(), run()]) == ()


def test_different_traffic_is_said_loudly_with_its_keys():
    keys = ("traffic.rate", "traffic.share", "traffic.think", "traffic.drain")
    settings = [Setting(key, ("1", "2"), "traffic") for key in keys]
    settings.append(Setting("seed", ("0", "1"), "seed"))
    text = said(*settings, kind="traffic")
    assert text.startswith(
        "THE TRAFFIC DIFFERS (traffic.rate, traffic.share, traffic.think and 2 more): "
    )


def test_different_seeds_alone_are_said_calmly():
    seeds = Setting("seed", ("0, 1", "2"), "seed")
    assert said(seeds, loud=False, kind="traffic").startswith("The seeds differ (0, 1 against 2)")


@pytest.mark.parametrize(
    ("setting", "text", "loud"),
    [
        (Setting("model.name", ("a", "b"), "model"), "THE MODEL DIFFERS (model.name a agai", True),
        (
            Setting("environment.hardware.hardware_key", ("x", "h200"), "hardware"),
            "THE HARDWARE DIFFERS (hardware_key x against h200)",
            True,
        ),
        (
            Setting("slo.ttft", ("100", "–"), "slo"),
            "THE SLOS DIFFER (ttft 100 against –, in ms): goodput and attainment are not",
            True,
        ),
        (
            Setting("environment.packages.torch", ("2.12", "2.13"), "versions"),
            "Versions differ (torch 2.12 against 2.13)",
            False,
        ),
        (
            Setting("profile", ("none", "minimal"), "conditions"),
            "The runs were made in other conditions (profile none against minimal)",
            False,
        ),
    ],
)
def test_what_was_set_up_differently_is_said(setting, text, loud):
    assert said(setting, loud=loud).startswith(text)


def test_the_switches_under_test_need_no_note():
    engine = Setting("engine.prefix_caching", ("true", "false"), "engine")
    server = Setting("target.url", ("http://a", "http://b"), "target")
    assert notes([run()], [run()], settings=[engine, server]) == ()


def test_clocks_that_differ_are_said_in_figures():
    def at(mhz):
        return [run(devices={"gpu0": {"sm_clock_mhz": mhz, "throttled_percent": 0.0}})]

    text = only(notes(at(1980.0), at(1410.0)), loud=False)
    assert text == ("gpu0's SM clock was 1,410 MHz on average in B, and 1,980 MHz in A (-28.8 %).")
    assert notes(at(1980.0), at(1930.0)) == ()
    assert notes(at(1980.0), [run()]) == ()


def test_a_device_that_was_slowed_down_on_one_side_is_said():
    def slowed(percent):
        return [run(devices={"gpu0": {"throttled_percent": percent}})]

    text = only(notes(slowed(0.0), slowed(12.5), slowed(0.2)))
    assert text.startswith("gpu0 was slowed down by power or heat in 12.5 % of the samples of B")
    assert text.endswith("not in A and C.")
    assert notes(slowed(12.0), slowed(12.5)) == ()
    assert notes(slowed(12.0), [run()]) == ()


def test_other_processes_are_said_where_the_engine_computes_on_the_cpu():
    busy = {"devices": {"host": {"host_cpu_percent": 75.0, "process_cpu_percent": 180.0}}}
    text = only(notes([run()], [run(**busy)]))
    assert text.startswith("Other processes kept 4.20 of 8 cores busy during B, and 0.200 during A")
    assert only(notes([run(**busy)], [run()])).startswith("Other processes kept 4.20 of 8 cores")
    assert notes([run(engine="cuda")], [run(engine="cuda", **busy)]) == ()
    assert notes([run(**busy)], [run(**busy)]) == ()


def test_a_busy_machine_at_the_start_is_said():
    text = only(notes([run()], [run(load=(14.0, 9.0, 5.0)), run()]))
    assert text == (
        "1 of 2 runs of B started on a busy machine (a load average of 14.0 on 8 cores), and A did "
        "not: other work may have slowed it."
    )
    # What the run before took of the machine, with all its threads, is no other load.
    assert notes([run()], [run(load=(8.1, 4.0, 2.0))]) == ()
    untold = run()
    del untold["environment"]["load_average"]
    assert notes([untold], [run(load=(14.0, 9.0, 5.0))]) == ()


def test_a_backlog_on_one_side_is_said():
    behind = run()
    behind["summary"]["load"] = {
        "fell_behind": True, "in_flight_start": 1, "in_flight_end": 1200,
    }  # fmt: skip
    text = only(notes([run()], [behind]))
    assert text.startswith(
        "B fell behind (1 request in flight at the window's start, 1,200 at its end), and A did not"
    )
    assert notes([behind], [behind]) == ()


def test_shortened_requests_on_one_side_are_said():
    text = only(notes([run(requests={"fitted": 7})], [run()]))
    assert text.startswith("A shortened requests to fit the model's context (7 of 200 requests)")


def test_failures_on_one_side_are_said():
    def ended(**counts):
        return [run(requests={"by_status": counts})]

    text = only(notes([run()], ended(ok=190, failed=8, unfinished=2)))
    assert text.startswith("10 of 200 requests of B did not end ok (8 failed, 2 unfinished), and ")
    rare = notes([run()], ended(ok=199, failed=1), ended(ok=200))
    assert "1 of 200" in only(rare, loud=False)
    assert notes(ended(ok=190, failed=10), ended(ok=190, failed=10)) == ()
    assert notes([run()], ended(ok=190, cancelled=10)) == ()


def test_replies_of_other_lengths_to_the_same_traffic_are_said():
    longer = [run(lengths={"output_tokens": {"mean": 60.0}})]
    text = only(notes([run()], longer))
    assert text.startswith("Replies of B had 60.0 tokens on average, those of A 50.0")
    seed = Setting("seed", ("0", "1"), "seed")
    assert len(notes([run()], longer, settings=[seed])) == 1
    others = run(lengths={"output_tokens": {"mean": 60.0}}, requests={"measured": 190})
    assert notes([run()], [others]) == ()


def test_a_run_whose_rate_was_turned_is_said():
    turned = run(knobs=[{"time_s": 3.0, "what": "rate 1 to 2"}])
    assert only(notes([run()], [turned])).startswith(
        "one: The rate was changed while it ran (once)"
    )


def test_nothing_is_said_of_what_no_record_tells():
    bare = {"name": "bare", "spec": {}}
    told = run(load=(90.0, 9.0, 5.0), requests={"fitted": 3, "by_status": {"failed": 9}})
    told["summary"]["load"]["fell_behind"] = True
    assert notes([bare], [told]) == ()
    assert notes([told], [bare, bare]) == ()
    assert notes([run()], [{"name": "bare", "summary": None}]) == ()
