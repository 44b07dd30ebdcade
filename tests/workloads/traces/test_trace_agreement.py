"""The fast and the careful reader must never disagree about a row."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from workloads.errors import WorkloadError
from workloads.traces.formats import read_trace
from workloads.traces.options import TraceOptions

HEADERS = {
    "azure": "TIMESTAMP,ContextTokens,GeneratedTokens",
    "burstgpt": "Timestamp,Session ID,Elapsed time,Model,Request tokens,Response tokens",
    "native": '{"workbench_trace": 1, "block_tokens": 4, "columns": ["session"]}',
}
ROWS = {
    "azure": "2023-11-16 18:15:46.6805900,374,44",
    "burstgpt": "19440110.25,1722ac82,43,GPT-4,906,446",
    "mooncake": json.dumps(
        {"timestamp": 27, "input_length": 600, "output_length": 52, "hash_ids": [46, 47]}
    ),
    "bailian": json.dumps(
        {
            "chat_id": 159,
            "parent_chat_id": 55,
            "timestamp": 61.114,
            "input_length": 20,
            "output_length": 132,
            "type": "text",
            "turn": 2,
            "hash_ids": [1089, 1090],
        }
    ),
    "native": json.dumps(
        {"arrival_ns": 0, "input_tokens": 1, "output_tokens": 2, "hash_ids": [1], "session": 0}
    ),
}
PIECES = st.sampled_from(
    [
        *'0123456789.,:-+eE[]{}"\t \\',
        "null",
        "true",
        "1.0",
        "NaN",
        "é",
        "00",
        '""',
        '"a": 1, ',
        "\n",
    ]
)


@st.composite
def edited(draw, name):
    """A row with a piece put in, taken out or replaced, or two."""
    row = ROWS[name]
    for _ in range(draw(st.integers(0, 2))):
        at = draw(st.integers(0, len(row)))
        row = row[:at] + draw(PIECES | st.just("")) + row[at + draw(st.integers(0, 3)) :]
    return row


def outcome(path, text, **options):
    path.write_text(text)
    try:
        trace = read_trace(path, TraceOptions(skip_bad=True), **options)
    except WorkloadError:
        return None
    ids = [] if trace.prefixes is None else trace.prefixes.hash_ids.tolist()
    columns = (trace.arrival_ns, trace.input_tokens, trace.output_tokens, trace.failed)
    sessions = [] if trace.session_id is None else trace.session_id.tolist()
    return [c.tolist() for c in columns], ids, sessions, trace.skipped, trace.origin


@pytest.mark.parametrize("name", ROWS)
@given(st.data())
@settings(max_examples=200, deadline=None)
def test_an_edited_row_is_read_alike_by_both(tmp_path_factory, name, data):
    path = tmp_path_factory.getbasetemp() / f"edited-{name}"
    rows = [ROWS[name], data.draw(edited(name))]
    lines = [HEADERS[name], *rows] if name in HEADERS else rows
    by_line = outcome(path, "\n".join(lines), chunk_bytes=1)
    # A blank line makes the careful reader read the whole chunk.
    careful = outcome(path, "\n\n".join(lines) + "\n\n")
    assert by_line == careful
