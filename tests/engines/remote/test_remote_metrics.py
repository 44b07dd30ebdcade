"""The server's own figures, out of what engines export."""

import math

from engines.remote.prometheus import parse_prometheus
from engines.remote.server_metrics import SERVER_COLUMNS, VALUE_COLUMNS, read_server_metrics

VLLM = r"""
# HELP vllm:num_requests_running Number of requests in model execution batches.
# TYPE vllm:num_requests_running gauge
vllm:num_requests_running{engine="0",model_name="a b} \"c\""} 3.0
vllm:num_requests_running{engine="1",model_name="a"} 4.0 1700000000000
vllm:num_requests_waiting{engine="0"} 2
vllm:num_requests_waiting_by_reason{reason="capacity"} 9
vllm:kv_cache_usage_perc{engine="0"} 0.5
vllm:kv_cache_usage_perc{engine="1"} 0.25
vllm:gpu_cache_usage_perc{engine="0"} 0.9
vllm:prompt_tokens_total 1.5e+03
vllm:prefix_cache_queries_total{engine="0"} 100
vllm:prefix_cache_hits_total{engine="0"} 40
vllm:num_preemptions_total{engine="0"} 1
vllm:request_queue_time_seconds_bucket{le="+Inf"} 5
vllm:request_queue_time_seconds_sum 0.75
vllm:request_queue_time_seconds_count 5
vllm:time_to_first_token_seconds_sum NaN
vllm:broken{ 3
vllm:broken two
"""

SGLANG = """
sglang:num_running_reqs{tp_rank="0"} 5
sglang:num_running_reqs{tp_rank="1"} 5
sglang:num_queue_reqs{tp_rank="0",priority=""} 2
sglang:num_queue_reqs{tp_rank="0",priority="1"} 2
sglang:token_usage{tp_rank="0"} 0.28
sglang:prompt_tokens_total 10
sglang:cached_tokens_total{cache_source="device"} 4
sglang:queue_time_seconds_sum 1.5
sglang:queue_time_seconds_count 3
"""


def test_vllm():
    values = read_server_metrics(VLLM)
    assert tuple(values) == VALUE_COLUMNS and ("time_ns", *VALUE_COLUMNS) == SERVER_COLUMNS
    assert (values["running"], values["waiting"], values["kv_usage"]) == (7, 2, 0.375)
    assert values["prompt_tokens_total"] == 1500 and values["preemptions_total"] == 1
    assert (values["prefix_cache_queries_total"], values["prefix_cache_hits_total"]) == (100, 40)
    assert (values["queue_time_sum_s"], values["queue_time_count"]) == (0.75, 5)
    assert math.isnan(values["generation_tokens_total"]) and math.isnan(values["ttft_sum_s"])


def test_older_names_stand_in():
    assert read_server_metrics("vllm:gpu_cache_usage_perc 0.9")["kv_usage"] == 0.9


def test_sglang_counts_ranks_once():
    values = read_server_metrics(SGLANG)
    assert (values["running"], values["waiting"], values["kv_usage"]) == (5, 2, 0.28)
    assert (values["prefix_cache_queries_total"], values["prefix_cache_hits_total"]) == (10, 4)
    assert (values["queue_time_sum_s"], values["queue_time_count"]) == (1.5, 3)


def test_our_own_names_and_foreign_ones():
    assert read_server_metrics("workbench:num_requests_running 1")["running"] == 1
    assert read_server_metrics("process_cpu_seconds_total 3\n<html>") == {}


def test_labels_may_hold_anything():
    found = parse_prometheus('vllm:x{a="}",b="\\"",} 1\nvllm:y 2 # later\n', ("vllm:",))
    assert found == {"vllm:x": [({"a": "}", "b": '\\"'}, 1.0)]}
