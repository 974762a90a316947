import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import lab.text as corpora
from lab.data import IGNORE, Packed, flatten, pack
from lab.data.packing import STRATEGIES, best_fit

LINES = [[2, 7, 8, 9, 3], [2, 3], [2, 5, 6, 7, 8, 9, 10, 11, 3], [2, 4, 3], [2, 6, 3]]
PAD = 77


def read_back(packed: Packed) -> dict[int, list[list[tuple[int, int, int]]]]:
    """For each document its pieces, rows from the top: (id, target, position) of the tokens that stand together."""
    pieces = {}
    for ids, targets, documents, positions in zip(
        packed.ids.tolist(),
        packed.targets.tolist(),
        packed.document_ids.tolist(),
        packed.positions.tolist(),
        strict=True,
    ):
        previous = -1
        for slot, document in enumerate(documents):
            token = (ids[slot], targets[slot], positions[slot])
            if document < 0:
                assert token == (PAD, IGNORE, 0)
            elif document != previous:
                pieces.setdefault(document, []).append([token])
            else:
                pieces[document][-1].append(token)
            previous = document
    return pieces


@settings(max_examples=200, deadline=None, derandomize=True)
@given(
    st.lists(st.lists(st.integers(0, 70), min_size=1, max_size=12), min_size=1, max_size=8),
    st.integers(1, 14),
    st.sampled_from(list(STRATEGIES)),
    st.none() | st.integers(0, 99),
)
def test_every_document_is_there_once_and_whole_or_in_pieces_as_long_as_a_row(lines, width, strategy, seed):
    generator = None if seed is None else torch.Generator().manual_seed(seed)
    packed = pack(lines, width, strategy, pad_id=PAD, generator=generator)
    pieces = read_back(packed)
    assert pieces.keys() == set(range(len(lines)))
    for document, line in enumerate(lines):
        couples = list(zip(line, [*line[1:], IGNORE], strict=True))
        expected = [
            [(*couple, position) for position, couple in enumerate(couples[start : start + width])]
            for start in range(0, len(line), width)
        ]
        assert sorted(pieces[document]) == sorted(expected)
    ledger = packed.ledger()
    ids, offsets = flatten(lines)
    is_first = torch.zeros(len(ids), dtype=torch.bool)
    is_first[torch.from_numpy(offsets[:-1])] = True
    assert set(ledger.inputs) == {1}, "each token is read exactly once"
    assert ledger.targets.tolist() == (~is_first).long().tolist(), "each but <s> is predicted exactly once"
    assert ledger.padding == (packed.document_ids < 0).sum() == len(packed) * width - len(ids)
    assert packed.fill == pytest.approx(len(ids) / (len(packed) * width))
    real = packed.sources >= 0
    assert torch.equal(torch.from_numpy(ids).long()[packed.sources[real]], packed.ids[real])


def test_in_order_keeps_the_order_and_opens_a_row_where_a_document_does_not_fit():
    packed = pack([*LINES, [2, 5, 3], [2, 3]], 9, "in_order")  # lengths 5 2 | 9 | 3 3 3 | 2
    rows = [[d for d in dict.fromkeys(row) if d >= 0] for row in packed.document_ids.tolist()]
    assert rows == [[0, 1], [2], [3, 4, 5], [6]]


@settings(max_examples=150, deadline=None, derandomize=True)
@given(st.lists(st.integers(1, 20), min_size=1, max_size=30))
def test_best_fit_puts_each_document_in_the_fullest_row_with_room(lengths):
    rooms, expected = [], []
    for piece in sorted(range(len(lengths)), key=lambda piece: -lengths[piece]):
        fitting = [room for room in rooms if room >= lengths[piece]]
        rooms.remove(min(fitting)) if fitting else None
        room = min(fitting, default=20)
        rooms.append(room - lengths[piece])
        expected.append((piece, 20 - room))
    rows, columns = best_fit(lengths, 20)
    assert sorted(zip(range(len(lengths)), columns, strict=True)) == sorted(expected)
    assert rows.max() + 1 == len(rooms)
    for row in range(rows.max() + 1):  # each begins where the one before it ends
        inside = sorted((columns[p], lengths[p]) for p in range(len(lengths)) if rows[p] == row)
        assert [start for start, _ in inside] == [
            sum(length for _, length in inside[:n]) for n in range(len(inside))
        ]


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_a_generator_shuffles_and_its_seed_fixes_how(strategy):
    def packed_with(seed):
        return pack(LINES * 5, 9, strategy, generator=torch.Generator().manual_seed(seed))

    one, same, other = packed_with(1), packed_with(1), packed_with(2)
    assert torch.equal(one.document_ids, same.document_ids)
    assert not torch.equal(one.document_ids, other.document_ids)
    assert not torch.equal(one.document_ids, pack(LINES * 5, 9, strategy).document_ids)


def test_best_fit_leaves_hardly_any_padding_in_rows_of_the_king_james_text():
    try:
        lines = corpora.load("kjv").lines
    except corpora.CorpusError as error:
        pytest.skip(f"no King James text at hand: {error}")
    encoded = [
        [2] * (len(line) + 2) for line in lines[:8000]
    ]  # characters, <s> and </s>: lengths are what counts
    packed = pack(encoded, 512, "best_fit")
    assert packed.fill > 0.99
    assert packed.fill > pack(encoded, 512, "in_order").fill
    assert packed.ledger().inputs.tolist() == [1] * sum(map(len, encoded))


def test_the_loader_yields_every_row_and_keeps_documents_apart_when_asked_to():
    packed = pack(LINES, 9)
    batches = list(packed.loader(2, isolate=True))
    assert [len(batch.ids) for batch in batches] == [2, 1]
    for name in ("ids", "targets", "document_ids", "positions"):
        whole = torch.cat([getattr(batch, name) for batch in batches])
        assert torch.equal(whole, getattr(packed, name)) and whole.dtype == torch.int64
    [batch] = packed.loader(2, shuffle=True, generator=torch.Generator().manual_seed(1), drop_last=True)
    assert batch.mask is batch.document_ids is None and len(batch.ids) == 2


@pytest.mark.parametrize(
    "change, about",
    [
        ({"row_length": 0}, "row_length"),
        ({"strategy": "worst_fit"}, "strategy"),
        ({"pad_id": -1}, "pad_id"),
        ({"lines": []}, "lines"),
        ({"lines": [[2, 3], []]}, "line 1"),
        ({"lines": [[2, -5, 3]]}, "line 0"),
        ({"lines": [[2, 0.5, 3]]}, "line 0"),
    ],
)
def test_refusals(change, about):
    with pytest.raises(ValueError, match=about):
        pack(**{"lines": LINES, "row_length": 9} | change)
