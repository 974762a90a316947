import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lab.data import IGNORE, pack
from lab.data.packing import STRATEGIES, best_fit

LINES = [[2, 7, 8, 9, 3], [2, 3], [2, 5, 6, 7, 8, 9, 10, 11, 3], [2, 4, 3], [2, 6, 3]]
PAD = 77


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
    tokens = [
        (document, token, target, place % width)
        for document, line in enumerate(lines)
        for place, (token, target) in enumerate(zip(line, [*line[1:], IGNORE], strict=True))
    ]
    document, ids, targets, positions = torch.tensor(tokens).T
    source, real = packed.sources, packed.sources >= 0
    assert sorted(source[real].tolist()) == list(range(len(tokens)))
    assert torch.equal(packed.ids, torch.where(real, ids[source], PAD))
    assert torch.equal(packed.targets, torch.where(real, targets[source], IGNORE))
    assert torch.equal(packed.document_ids, torch.where(real, document[source], -1))
    assert torch.equal(packed.positions, torch.where(real, positions[source], 0))
    goes_on = packed.positions > 0  # after the token before it
    assert torch.equal(source[goes_on], source.roll(1)[goes_on] + 1) and not goes_on[:, 0].any()
    ledger = packed.ledger()
    assert set(ledger.inputs) == {1}, "each token is read exactly once"
    firsts = [place == 0 for line in lines for place in range(len(line))]
    assert (ledger.targets == 0).tolist() == firsts and ledger.targets.max() <= 1
    assert ledger.padding == (~real).sum() and packed.fill == pytest.approx(len(tokens) / real.numel())


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


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_a_generator_shuffles_and_its_seed_fixes_how(strategy):
    def packed_with(seed):
        return pack(LINES * 5, 9, strategy, generator=torch.Generator().manual_seed(seed))

    one, same, other = packed_with(1), packed_with(1), packed_with(2)
    assert torch.equal(one.document_ids, same.document_ids)
    assert not torch.equal(one.document_ids, other.document_ids)
    assert not torch.equal(one.document_ids, pack(LINES * 5, 9, strategy).document_ids)


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
        ({"lines": []}, "lines"),
        ({"lines": [[2, 3], []]}, "line 1"),
    ],
)
def test_refusals(change, about):
    with pytest.raises(ValueError, match=about):
        pack(**{"lines": LINES, "row_length": 9} | change)
