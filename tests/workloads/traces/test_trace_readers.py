"""The readers with one request a line: what they make of each quirk, and what they refuse."""

import gzip
import json
import sys

import numpy as np
import pytest

from workloads.errors import WorkloadError
from workloads.traces.formats import read_trace
from workloads.traces.options import TraceOptions

AZURE = "TIMESTAMP,ContextTokens,GeneratedTokens"
BURST = "Timestamp,Model,Request tokens,Response tokens,Total tokens,Log Type"
BURST_SESSIONS = BURST.replace("Timestamp,", "Timestamp,Session ID,Elapsed time,")


def azure_lines():
    return [AZURE] + [
        f"2023-11-16 18:{15 + i // 60:02d}:{i % 60:02d}.{i * 1234567 % 10**7:07d},{i + 1},{i % 7}"
        for i in range(300)
    ]


def burst_lines():
    rows = [
        f"{19440110 + i}.5,{'' if i % 3 else f's{i % 5}'},9,GPT-4,{i % 4 and i},{i % 4},0,API log"
        for i in range(200)
    ]
    return [BURST_SESSIONS, *rows]


def mooncake_row(**changes):
    row = {"timestamp": 0, "input_length": 513, "output_length": 5, "hash_ids": [7, 8]}
    return json.dumps(row | changes)


def bailian_row(chat=0, parent=-1, t=0.0, tokens=17, ids=(1, 2), turn=1, **changes):
    row = {"chat_id": chat, "parent_chat_id": parent, "timestamp": t, "input_length": tokens}
    row |= {"output_length": 3, "type": "text", "turn": turn, "hash_ids": list(ids)}
    return json.dumps(row | changes)


def mooncake_lines():
    return [
        mooncake_row(
            timestamp=i // 3 * 3000, input_length=i * 100 + 1, hash_ids=[*range(i * 100 // 512 + 1)]
        )
        for i in range(100)
    ]


def bailian_lines():
    return [
        bailian_row(
            i,
            max(i - 4, -1) if i % 9 else -1,
            i * 0.061,
            16 * (i % 5) + 1,
            range(i % 5 + 1),
            i % 3 + 1,
        )
        for i in range(150)
    ]


def native_lines():
    header = {"workbench_trace": 1, "block_tokens": 16, "columns": ["session", "turn"]}
    rows = [
        {"arrival_ns": i * 7, "input_tokens": i, "output_tokens": 1, "hash_ids": [i] * (i % 3)}
        | ({"session": i % 4} if i % 2 else {})
        | ({"failed": True} if i % 11 == 0 else {})
        for i in range(150)
    ]
    return [json.dumps(line) for line in (header, *rows)]


LINES = {
    "azure": azure_lines,
    "burstgpt": burst_lines,
    "mooncake": mooncake_lines,
    "bailian": bailian_lines,
    "native": native_lines,
}
BROKEN = {"azure": "x,1,1", "burstgpt": "1,a,9,m,x,1,0,A"}


def save(path, lines):
    path.write_text("\n".join(lines))
    return path


def columns(trace):
    prefixes = trace.prefixes
    arrays = [trace.arrival_ns, trace.input_tokens, trace.output_tokens, trace.failed]
    arrays += [trace.session_id, trace.turn]
    if prefixes is not None:
        arrays += [prefixes.hash_ids, prefixes.offsets]
    return [None if a is None else a.tolist() for a in arrays], trace.origin, trace.skipped


@pytest.fixture
def file(tmp_path):
    return tmp_path / "trace"


@pytest.mark.parametrize("name", LINES)
def test_dtypes_and_shapes(file, name):
    lines = LINES[name]()
    trace = read_trace(save(file, lines))
    rows = len(lines) - (name in ("azure", "burstgpt", "native"))
    assert trace.format == name
    assert trace.path == str(file)
    assert len(trace) == rows
    for column in (trace.arrival_ns, trace.input_tokens, trace.output_tokens):
        assert column.dtype == np.int64
        assert column.shape == (rows,)
    assert trace.failed.dtype == np.bool_
    assert (np.diff(trace.arrival_ns) >= 0).all()
    assert trace.arrival_ns[0] == 0
    if trace.prefixes is not None:
        assert trace.prefixes.offsets.shape == (rows + 1,)
        assert trace.prefixes.offsets[-1] == len(trace.prefixes.hash_ids)


@pytest.mark.parametrize("name", LINES)
@pytest.mark.parametrize("chunk_bytes", [1, 100, 1000])
def test_chunk_borders_change_nothing(file, name, chunk_bytes):
    save(file, LINES[name]())
    assert columns(read_trace(file, chunk_bytes=chunk_bytes)) == columns(read_trace(file))


@pytest.mark.parametrize("name", LINES)
def test_the_careful_reader_reads_the_same(file, name):
    lines = LINES[name]()
    clean = columns(read_trace(save(file, lines)))
    save(file, [*lines[:1], "", *lines[1:9], " ", "\t", *lines[9:], "", ""])
    assert columns(read_trace(file)) == clean
    assert columns(read_trace(file, chunk_bytes=150)) == clean


@pytest.mark.parametrize("name", LINES)
@pytest.mark.parametrize("chunk_bytes", [1, 120, 1 << 20])
def test_broken_rows_are_counted_or_refused(file, name, chunk_bytes):
    lines = LINES[name]()
    clean, origin, _ = columns(read_trace(save(file, lines)))
    bad = BROKEN.get(name, "{")
    save(file, [*lines[:40], bad, bad, *lines[40:90], bad, *lines[90:]])
    with pytest.raises(WorkloadError, match=r"trace: line 41, column \d+.*: expected .*, found "):
        read_trace(file, chunk_bytes=chunk_bytes)
    trace = read_trace(file, TraceOptions(skip_bad=True), chunk_bytes=chunk_bytes)
    assert columns(trace) == (clean, origin, 3)
    assert "line 41" in trace.first_skipped


@pytest.mark.parametrize("name", LINES)
def test_ends_of_lines_marks_and_compression_change_nothing(file, name):
    data = "\n".join(LINES[name]()).encode()
    save(file, LINES[name]())
    clean = columns(read_trace(file))
    for changed in (
        data.replace(b"\n", b"\r\n"),
        data + b"\r\n",
        b"\xef\xbb\xbf" + data,
        gzip.compress(data),
    ):
        file.write_bytes(changed)
        assert columns(read_trace(file, chunk_bytes=333)) == clean


@pytest.mark.parametrize("name", LINES)
@pytest.mark.parametrize("chunk_bytes", [1, 700, 1 << 20])
def test_window_and_limit_leave_rows_out_and_stop_reading(file, name, chunk_bytes):
    lines = LINES[name]()
    whole = read_trace(save(file, lines))
    start, end = whole.arrival_ns[20] / 1e9, whole.arrival_ns[60] / 1e9
    bounds = (round(start * 1e9), round(end * 1e9))
    inside = (whole.arrival_ns >= bounds[0]) & (whole.arrival_ns < bounds[1])
    save(file, [*lines, "broken"])
    options = TraceOptions(window_s=(start, end))
    trace = read_trace(file, options, chunk_bytes=chunk_bytes)
    assert trace.arrival_ns.tolist() == whole.arrival_ns[inside].tolist()
    assert trace.input_tokens.tolist() == whole.input_tokens[inside].tolist()
    if whole.prefixes is not None:
        i = int(np.flatnonzero(inside)[-1])
        first, last = whole.prefixes.offsets[i : i + 2]
        assert trace.prefixes.hash_ids[trace.prefixes.offsets[-2] :].tolist() == (
            whole.prefixes.hash_ids[first:last].tolist()
        )
    limited = read_trace(file, TraceOptions(limit=13), chunk_bytes=chunk_bytes)
    assert limited.input_tokens.tolist() == whole.input_tokens[:13].tolist()
    both = TraceOptions(window_s=(start, end), limit=3)
    expected = whole.input_tokens[inside][:3].tolist()
    assert read_trace(file, both, chunk_bytes=chunk_bytes).input_tokens.tolist() == expected


@pytest.mark.parametrize("chunk_bytes", [1, 60, 1 << 20])
def test_nothing_after_the_last_wanted_row_is_counted(file, chunk_bytes):
    lines = azure_lines()
    save(file, [*lines[:5], "x,1,1", *lines[5:11], "x,1,1", *lines[11:]])
    options = TraceOptions(skip_bad=True, limit=10)
    assert read_trace(file, options, chunk_bytes=chunk_bytes).skipped == 1


def test_an_empty_window_says_how_long_the_trace_is(file):
    save(file, azure_lines())
    with pytest.raises(WorkloadError, match=r"no row arrives within 900..1000 s.* 299\."):
        read_trace(file, TraceOptions(window_s=(900, 1000)))


@pytest.mark.parametrize("lines", [[AZURE], [AZURE, "", ""], native_lines()[:1]])
def test_a_file_without_rows_is_refused(file, lines):
    with pytest.raises(WorkloadError, match="no rows"):
        read_trace(save(file, lines))


def test_a_file_of_broken_rows_is_refused(file):
    with pytest.raises(WorkloadError, match=r"all 2 rows are broken.*line 2"):
        read_trace(save(file, [AZURE, "x,1,1", "y,1,1"]), TraceOptions(skip_bad=True))


# Azure


def test_azure_stamps_are_exact(file):
    stamps = [
        "2023-12-31 23:59:59.0000001",
        "2023-12-31 23:59:59.123456789",
        "2024-01-01 00:00:00",
        "2024-01-01 00:00:00.009930+00:00",
        "2024-01-01 00:00:01+00:00",
    ]
    expected = [0, 123456689, 999999900, 1009929900, 1999999900]
    rows = [AZURE, *(f"{stamp},10,2" for stamp in stamps)]
    trace = read_trace(save(file, rows))
    assert trace.arrival_ns.tolist() == expected
    assert trace.origin == stamps[0]
    # A zone and a quoted field are for the careful reader.
    other = [*rows, "2024-01-01 03:00:02.5+03:00,10,2", '"2024-01-01 00:00:03Z","1","2"']
    trace = read_trace(save(file, other))
    assert trace.arrival_ns.tolist() == [*expected, 3499999900, 3999999900]


def test_azure_columns_are_found_by_name(file):
    header = "GeneratedTokens,NumImages,TIMESTAMP,ContextTokens"
    trace = read_trace(save(file, [header, "7,2,2024-10-15 00:00:00.0000000,900"]))
    assert (trace.input_tokens[0], trace.output_tokens[0]) == (900, 7)


S = "2023-11-16 18:15:46.6805900"


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (f"{S},abc,1", "line 3, column 29 (ContextTokens): expected a number of tokens from 1 to"),
        (f"{S},0,1", "column 29 (ContextTokens)"),
        (f"{S},-3,1", "column 29 (ContextTokens)"),
        (f"{S},12.0,1", "column 29 (ContextTokens)"),
        (f"{S},,1", "column 29 (ContextTokens): expected a number of tokens from 1 to 2147483647, "
                    "found ''"),
        (f"{S},2147483648,1", "column 29 (ContextTokens)"),
        (f"{S},{'9' * 5000},1", "column 29 (ContextTokens)"),
        (f"{S},374,-1", "column 33 (GeneratedTokens): expected a number of tokens from 0"),
        (f"{S},374", "column 29: expected 3 fields (TIMESTAMP, ContextTokens, GeneratedTokens), "
                     "found 2"),
        (f"{S},374,1,5", "column 35: expected 3 fields"),
        (f"{S},374,1\n{S},374,1,5\n{S},1", "line 4, column 35: expected 3 fields"),
        ("2023-02-30 00:00:00,1,1", "column 1 (TIMESTAMP): expected a stamp like"),
        ("2023-11-16T18:15:46,1,1", "column 1 (TIMESTAMP)"),
        ("2023-11-16 18:15:46.1234567891,1,1", "column 1 (TIMESTAMP)"),
        ("0001-01-01 00:00:00,1,1", "column 1 (TIMESTAMP)"),
        (",1,1", "column 1 (TIMESTAMP)"),
        (AZURE, "column 1 (TIMESTAMP): expected a stamp like"),
        ('"2023,1,1', "column 1: expected a comma or the line's end"),
        (mooncake_row(), "expected 3 fields (TIMESTAMP, ContextTokens, GeneratedTokens), found 5"),
        ("2023-11-16 18:15:46.6805899,1,1", "column 1 (TIMESTAMP): expected a stamp not before"),
    ],
)  # fmt: skip
def test_azure_broken_rows(file, row, message):
    save(file, [AZURE, f"{S},374,44", row, f"{S},1,1"])
    with pytest.raises(WorkloadError) as raised:
        read_trace(file)
    assert str(file) in str(raised.value)
    assert message in str(raised.value)
    trace = read_trace(file, TraceOptions(skip_bad=True))
    assert trace.skipped == 1 + ("1,5\n" in row)


def test_bytes_that_are_no_text_are_a_broken_row(file):
    file.write_bytes(f"{AZURE}\n{S},1,1\n{S},\xe9,1\n".encode("latin-1"))
    with pytest.raises(
        WorkloadError, match="line 3, column 29: expected UTF-8 text, found byte 0xe9"
    ):
        read_trace(file)


def test_a_row_that_goes_back_is_left_out_and_the_rest_stays(file):
    rows = [f"2023-11-16 18:15:{s}.0,{s},1" for s in (10, 12, 11, 12, 13)]
    trace = read_trace(save(file, [AZURE, *rows]), TraceOptions(skip_bad=True))
    assert trace.input_tokens.tolist() == [10, 12, 12, 13]
    assert trace.skipped == 1
    assert "line 4" in trace.first_skipped


# BurstGPT


def test_burstgpt_first_header(file):
    rows = ["5,ChatGPT,472,18,490,Conversation log", "45.25,ChatGPT,1087,0,1087,API log"]
    trace = read_trace(save(file, [BURST, *rows]))
    assert trace.arrival_ns.tolist() == [0, 40_250_000_000]
    assert trace.failed.tolist() == [False, True]
    assert trace.origin == "5"
    assert trace.session_id is None
    assert trace.turn is None


def test_burstgpt_sessions_are_numbered_by_first_arrival(file):
    ids = ["b-1", "", "a-2", "b-1", "", "b-1"]
    rows = [f"{19440110 + i}.0,{s},4,GPT-4,9,{i},0,Log" for i, s in enumerate(ids)]
    trace = read_trace(save(file, [BURST_SESSIONS, *rows]))
    assert trace.session_id.tolist() == [0, -1, 1, 0, -1, 0]
    assert trace.turn.tolist() == [0, 0, 0, 1, 0, 2]
    late = read_trace(file, TraceOptions(window_s=(2, 10)))
    assert late.session_id.tolist() == [0, 1, -1, 1]


@pytest.mark.parametrize("text", ["28943983.123456789", "0.000000001", "5", "7.5"])
def test_burstgpt_stamps_are_exact(file, text):
    save(file, [BURST, "0.0,m,1,1,2,x", f"{text},m,1,1,2,x"])
    whole, _, fraction = text.partition(".")
    assert read_trace(file).arrival_ns[1] == int(whole + fraction.ljust(9, "0"))


def test_burstgpt_other_decimals_are_read_too(file):
    save(file, [BURST, "1e1,m,1,1,2,x", "10.00000000051,m,1,1,2,x"])
    assert read_trace(file).arrival_ns.tolist() == [0, 1]


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("6,m,0,5,5,x", "column 5 (Request tokens): expected a number of tokens from 1"),
        ("6,m,4,-5,5,x", "column 7 (Response tokens)"),
        ("six,m,4,5,5,x", "column 1 (Timestamp): expected a number of seconds from 0 up"),
        ("nan,m,4,5,5,x", "column 1 (Timestamp)"),
        ("-6,m,4,5,5,x", "column 1 (Timestamp)"),
        ("99999999999,m,4,5,5,x", "column 1 (Timestamp)"),
        ("4,m,4,5,5,x", "expected a stamp not before the one of the row above, found 4"),
        ("6,m,4,5,5", "expected 6 fields"),
    ],
)
def test_burstgpt_broken_rows(file, row, message):
    save(file, [BURST, "5,m,0,0,0,x", row])
    with pytest.raises(WorkloadError) as raised:
        read_trace(file)
    assert f"{file}: line 3, " in str(raised.value)
    assert message in str(raised.value)


def test_a_column_named_twice_is_refused(file):
    with pytest.raises(WorkloadError, match=r"line 1, column 1 .*one column 'TIMESTAMP'"):
        read_trace(save(file, [f"{AZURE},TIMESTAMP", f"{S},1,1,{S}"]))


# Mooncake and Bailian


def test_mooncake_rows(file):
    save(file, [mooncake_row(timestamp=27482), mooncake_row(timestamp=30535, later="ignored")])
    trace = read_trace(file)
    assert trace.arrival_ns.tolist() == [0, 3_053_000_000]
    assert trace.origin == "27482"
    assert trace.prefixes.block_tokens == 512
    assert trace.prefixes.hash_ids.tolist() == [7, 8, 7, 8]
    assert trace.prefixes.offsets.tolist() == [0, 2, 4]
    assert trace.session_id is None


LEAD = '{"timestamp": 0, "input_length": '


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (mooncake_row(input_length=1025), 'column 72 (hash_ids): expected 3 block ids for 1025 '
                                          "input tokens, found 2"),
        (mooncake_row(input_length="513"), f'column {len(LEAD) + 1} (input_length): expected a '
                                           'number of tokens from 1 to 2147483647, found "513"'),
        (mooncake_row(input_length=0, hash_ids=[]), f"column {len(LEAD) + 1} (input_length)"),
        (mooncake_row(input_length=513.0), "(input_length)"),
        (mooncake_row(input_length=True), "(input_length)"),
        (mooncake_row(input_length=None), "(input_length): expected a number of tokens from 1 to "
                                          "2147483647, found null"),
        (mooncake_row(timestamp=1.5), "column 15 (timestamp): expected a whole number of "
                                      "milliseconds from 0 up, found 1.5"),
        (mooncake_row(timestamp=-1), "column 15 (timestamp)"),
        (mooncake_row(timestamp=10**13), "column 15 (timestamp)"),
        (mooncake_row(output_length=-1), "(output_length)"),
        (mooncake_row(hash_ids=[1, "2"]), '(hash_ids): expected a list of block ids (whole '
                                          'numbers), found "2"'),
        (mooncake_row(hash_ids=[1, None]), "found null"),
        (mooncake_row(hash_ids=[1, 2**63]), "(hash_ids)"),
        (mooncake_row(hash_ids=5), "(hash_ids): expected a list"),
        ('{"timestamp": 0, "input_length": 5, "output_length": 5}',
         'column 1: expected the key "hash_ids"'),
        ('{"timestamp": 0, "input_length": 5,', "column 36: expected JSON"),
        ('{"timestamp": NaN}', "NaN is no JSON number"),
        (mooncake_row() + mooncake_row(), "column 78: expected JSON (extra data)"),
        ("[1]", "column 1: expected a JSON object, found '[1]'"),
        ("[" * 100_000, "expected JSON"),
        (f'{LEAD}{"9" * 5000}}}', "expected JSON"),
        (bailian_row(tokens=5, ids=[1], t=0), "column 13 (chat_id): expected a Mooncake row"),
        (f"{S},1,1", "column 5: expected JSON"),
        (mooncake_row(timestamp=4), "column 15 (timestamp): expected a stamp not before the one of "
                                    "the row above, found 4"),
    ],
)  # fmt: skip
def test_mooncake_broken_rows(file, row, message):
    save(file, [mooncake_row(timestamp=0 if "not before" not in message else 5), row])
    with pytest.raises(WorkloadError) as raised:
        read_trace(file)
    assert f"{file}: line 2, column " in str(raised.value)
    assert message in str(raised.value)
    assert len(str(raised.value)) < 300
    assert read_trace(file, TraceOptions(skip_bad=True)).skipped == 1


def test_bailian_conversations(file):
    rows = [
        bailian_row(10, -1, 0.5),
        bailian_row(20, 99, 1.114, turn=4),  # its parent is not in the file
        bailian_row(30, 10, 2.000000001, turn=2),
        bailian_row(40, 30, 3, turn=3),
        bailian_row(50, 20, 3, turn=5),
        bailian_row(60, 10, 4, turn=2),
    ]
    trace = read_trace(save(file, rows))
    assert trace.arrival_ns.tolist() == [
        0,
        614_000_000,
        1_500_000_001,
        *[2_500_000_000] * 2,
        3_500_000_000,
    ]
    assert trace.session_id.tolist() == [0, 1, 0, 0, 1, 0]
    assert trace.turn.tolist() == [0, 3, 1, 2, 4, 1]
    assert trace.prefixes.block_tokens == 16
    assert trace.origin == "0.5"
    late = read_trace(file, TraceOptions(window_s=(1, 9)))
    assert late.session_id.tolist() == [0, 0, 1, 2]


def test_a_chat_cannot_continue_a_later_one_or_itself(file):
    rows = [bailian_row(1, 2), bailian_row(2, 1, turn=2), bailian_row(3, 3)]
    assert read_trace(save(file, rows)).session_id.tolist() == [0, 0, 1]


def test_bailian_long_stamps_are_exact(file):
    texts = ["0.123456789", "4194303.999999999", "4194304.123456789", "28943983.123456789"]
    rows = [
        bailian_row(i, t=0).replace('"timestamp": 0', f'"timestamp": {t}')
        for i, t in enumerate(texts)
    ]
    expected = [int(text.replace(".", "")) - 123456789 for text in texts]
    assert read_trace(save(file, rows)).arrival_ns.tolist() == expected
    assert read_trace(file, chunk_bytes=1).arrival_ns.tolist() == expected


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (bailian_row(tokens=33), "expected 3 block ids for 33 input tokens, found 2"),
        (bailian_row(t="1"), '(timestamp): expected a number of seconds from 0 up, found "1"'),
        (bailian_row(t=-1.5), "(timestamp)"),
        (bailian_row(t=1e300), "(timestamp)"),
        (bailian_row(chat=-1), "(chat_id)"),
        (bailian_row(parent=-2), "(parent_chat_id)"),
        (bailian_row(turn=0), "(turn)"),
        (mooncake_row(input_length=5, hash_ids=[1]), 'expected the key "chat_id"'),
    ],
)
def test_bailian_broken_rows(file, row, message):
    save(file, [bailian_row(), row])
    with pytest.raises(WorkloadError) as raised:
        read_trace(file)
    assert f"{file}: line 2, column " in str(raised.value)
    assert message in str(raised.value)


def test_reading_modules_do_not_import_polars():
    import subprocess

    code = (
        "import sys, workloads.traces.formats; "
        "sys.exit('polars' in sys.modules or 'zstandard' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
