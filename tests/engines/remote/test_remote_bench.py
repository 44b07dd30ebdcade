"""The benchmark of the remote engine runs and tells what it must."""

from workbench.bench.http import run_http


def test_every_client_has_its_figures():
    result = run_http(["direct", "httpx"], 0.4, 4, 40.0)
    for name in ("closed_loop", "closed_loop_chunks_5_ms_apart", "open_loop"):
        assert [row["http_client"] for row in result[name]] == ["direct", "httpx"]
        assert all(row["not_ok"] == 0 for row in result[name])
    assert all(row["requests_per_s"] > 0 for row in result["closed_loop"])
    for row in result["open_loop"]:
        assert 0 <= row["scheduling_error_p50_ms"] <= row["scheduling_error_p99_ms"]
