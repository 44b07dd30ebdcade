import copy

import pytest

from workbench.comparison.setting_differences import Setting, setting_differences
from workbench.spec import RunSpec


def run(seed=0, *, reached=True, engine=None, environment=None, resolved=None, **sections):
    """`run.json` of a run of this spec, as far as settings go."""
    spec = RunSpec.model_validate({"seed": seed, **sections}).as_dict()
    content = {"name": "a run", "spec": spec, "progress": "", "summary": None}
    if reached:
        rate = spec["traffic"]["rate"]
        content |= {
            "engine": {"name": "monolithic", "device": "cpu", "dtype": "float32", "num_blocks": 69}
            | (engine or {}),
            "environment": {
                "hardware": {
                    "hardware_key": "cpu-x-2c", "memory_total_bytes": 25276502016, "gpus": [],
                    "kernel": "6.1", "python_version": "3.11.7", "reasons": {"gpu": "none"},
                },
                "python": "3.11.7",
                "packages": {"torch": "2.13.0"},
                "commit": "98bb787e034ea3cd4c274465845e8142c9dab77e",
                "settings": {},
                "load_average": [1.0, 1.0, 1.0],
            },
            "duration_s": 30.0, "warmup_s": 3.0,
            "rate_per_s": 1.25 if rate == "auto" else rate,
            "traffic": {"what": "chat", "arrival": "poisson", "notes": []},
        } | (resolved or {})  # fmt: skip
    for path, value in (environment or {}).items():
        *parents, name = path.split(".")
        place = content["environment"]
        for parent in parents:
            place = place[parent]
        place[name] = value
    return content


def found(*sides):
    return [(each.key, each.values, each.kind) for each in setting_differences(sides)]


def test_what_differs_is_listed_by_weight():
    base = run(slo={"ttft": 100.0})
    other = run(
        1,
        profile="none",
        traffic={"workload": "rag"},
        model={"name": "other"},
        engine={"model": "other", "max_num_seqs": 8, "name": "monolithic"},
        slo={"ttft": 200.0},
        environment={
            "hardware.hardware_key": "h200",
            "hardware.kernel": "6.2",
            "packages.torch": "2.12.0",
            "packages.triton": "3.0",
            "settings.OMP_NUM_THREADS": "4",
        },
    )
    base["engine"] |= {"model": "smollm2-135m-instruct", "max_num_seqs": 16}
    assert found([base], [other]) == [
        ("traffic.workload", ("chat", "rag"), "traffic"),
        ("model.name", ("smollm2-135m-instruct", "other"), "model"),
        ("seed", ("0", "1"), "seed"),
        ("engine.max_num_seqs", ("16", "8"), "engine"),
        ("environment.hardware.hardware_key", ("cpu-x-2c", "h200"), "hardware"),
        ("environment.hardware.kernel", ("6.1", "6.2"), "versions"),
        ("environment.packages.torch", ("2.13.0", "2.12.0"), "versions"),
        ("environment.packages.triton", ("–", "3.0"), "versions"),
        ("slo.ttft", ("100", "200"), "slo"),
        ("profile", ("minimal", "none"), "conditions"),
        ("environment.settings.OMP_NUM_THREADS", ("–", "4"), "conditions"),
    ]


def test_traffic_and_the_seed_make_the_work_different():
    settings = setting_differences([[run()], [run(1, sampling={"temperature": 1.0})]])
    assert [(each.key, each.kind, each.traffic) for each in settings] == [
        ("sampling.temperature", "traffic", True),
        ("seed", "seed", True),
    ]
    engine = setting_differences([[run()], [run(engine={"policy": "sjf"})]])
    assert not any(each.traffic for each in engine)


def test_a_side_of_several_runs_shows_all_its_values():
    three = [run(seed) for seed in (0, 1, 2)]
    assert found(three, [run(0)]) == [("seed", ("0, 1, 2", "0"), "seed")]
    assert found(three, [run(seed) for seed in (2, 0, 1)]) == []
    assert found([run(10), run(9)], [run(1)])[0][1] == ("9, 10", "1")


def test_a_rate_that_was_calibrated_for_the_first_run_is_that_of_the_others():
    group = [run(), run(traffic={"rate": 1.25}), run(traffic={"rate": 1.25})]
    assert found(group, [run(traffic={"rate": 1.25})]) == []
    assert found(group, [run()]) == []
    slower = [run(resolved={"rate_per_s": 1.0})]
    assert found(group, slower) == [("traffic.rate", ("1.25", "1"), "traffic")]


def test_shares_of_a_rate_say_nothing_where_the_rate_is_the_same():
    given = run(traffic={"rate": 1.25, "share": 0.5})
    assert found([run()], [given]) == []
    asked = run(traffic={"share": 0.5}, resolved={"rate_per_s": 0.9})
    assert [key for key, _, _ in found([run()], [asked])] == ["traffic.rate", "traffic.share"]


def test_a_length_that_follows_from_the_seed_is_no_other_setting():
    limited = [run(0), run(1, resolved={"duration_s": 29.5})]
    assert [key for key, _, _ in found(limited[:1], limited[1:])] == ["seed"]
    asked = run(traffic={"duration": 60.0}, resolved={"duration_s": 60.0})
    assert found([run()], [asked]) == [("traffic.duration", ("30", "60"), "traffic")]


def test_what_a_run_did_not_live_to_tell_is_no_difference():
    assert found([run()], [run(reached=False)]) == []
    other = run(reached=False, traffic={"rate": 2.0})
    assert found([run(traffic={"rate": 1.0})], [other]) == [("traffic.rate", ("1", "2"), "traffic")]
    assert found([run()], [{"state": "failed", "spec": {}}]) == []
    assert found([{}], [{}]) == []


def test_keys_that_an_older_version_did_not_have_are_as_by_default():
    older = run()
    del older["spec"]["traffic"]["cancel_share"]
    assert found([older], [run()]) == []
    assert found([older], [run(traffic={"cancel_share": 0.5})]) == [
        ("traffic.cancel_share", ("0", "0.5"), "traffic")
    ]


def test_what_the_engine_chose_counts_and_not_how_it_was_asked():
    asked = run(engine={"max_num_seqs": 16})
    asked["spec"]["engine"]["max_num_seqs"] = 16
    assert found([run(engine={"max_num_seqs": 16})], [asked]) == []
    on_gpu = run(engine={"device": "cuda", "dtype": "bfloat16"})
    assert found([run()], [on_gpu]) == [
        ("model.dtype", ("float32", "bfloat16"), "model"),
        ("model.device", ("cpu", "cuda"), "hardware"),
    ]


def test_what_an_engine_is_made_of_is_told_once_each():
    plain = {
        "attention": "reference", "kernels": "reference", "cuda_graphs": False, "overlap": False,
        "kv_dtype": "bfloat16", "quantization": "none", "quantised": None,
    }  # fmt: skip
    fast = {
        "attention": "triton", "kernels": "fused", "cuda_graphs": True, "overlap": True,
        "kv_dtype": "fp8", "quantization": "fp8", "quantised": "down of layers 1 to 2 (0 to 3)",
    }  # fmt: skip
    kinds = {key: kind for key, _, kind in found([run(engine=plain)], [run(engine=fast)])}
    assert kinds == {"model.quantization": "model"} | {
        f"engine.{name}": "engine" for name in fast if name != "quantization"
    }


def test_a_server_is_a_target_and_its_model_is_the_model():
    def served(url, model, reused):
        told = {"name": "remote", "url": url, "model": model, "connections_reused": reused}
        content = run(target={"url": url}, traffic={"rate": 1.0})
        return content | {"engine": told}

    one, two = served("http://a:1", "m", 3), served("http://b:1", "n", 9)
    assert found([one], [two]) == [
        ("model.name", ("m", "n"), "model"),
        ("target.url", ("http://a:1", "http://b:1"), "target"),
    ]


def test_boards_are_told_apart_by_name_and_not_by_their_slot():
    def on(name, bus):
        board = {"device": "gpu0", "name": name, "pci_bus_id": bus}
        return run(environment={"hardware.gpus": [board]})

    assert found([on("H200", "1")], [on("H100", "2")]) == [
        ("environment.hardware.gpus.gpu0.name", ("H200", "H100"), "hardware"),
        ("environment.hardware.gpus.gpu0.pci_bus_id", ("1", "2"), "conditions"),
    ]


def test_a_machine_with_a_few_bytes_more_is_the_same():
    close = run(environment={"hardware.memory_total_bytes": 25276502016 + 4096})
    assert found([run()], [close]) == []
    double = run(environment={"hardware.memory_total_bytes": 2 * 25276502016})
    assert found([run()], [double])[0][1:] == (("23.5 GiB", "47.1 GiB"), "hardware")


@pytest.mark.parametrize(
    ("key", "values", "shown"),
    [
        ("engine.kv_bytes", (51609600, 5 << 30), ("49.2 MiB", "5 GiB")),
        ("engine.kv_memory", (None, 2 << 30), ("–", "2 GiB")),
        ("engine.kv_bytes", (51609600, 51609601), ("51609600", "51609601")),
        ("engine.num_blocks", (4096, 70), ("4096", "70")),
        ("environment.commit", ("a" * 40, "b" * 40 + "-dirty"), ("a" * 9, "b" * 9 + "-dirty")),
        ("environment.commit", ("a" * 40, "a" * 39 + "b"), ("a" * 40, "a" * 39 + "b")),
    ],
)
def test_values_are_shown_as_people_read_them(key, values, shown):
    contents = []
    for value in values:
        content = copy.deepcopy(run())
        part, name = key.split(".")
        content[part][name] = value
        contents.append([content])
    assert [each.shown for each in setting_differences(contents) if each.key == key] == [shown]


def test_a_setting_by_hand():
    assert Setting("seed", ("0", "1"), "seed").traffic
    assert not Setting("target.url", ("", "http://a"), "target").traffic
