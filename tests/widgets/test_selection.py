"""The selection between Python and the browser."""

import json

import numpy as np
import pytest

from dg_explorer.errors import SettingError
from dg_explorer.widgets.board.linked import LinkedSelection
from dg_explorer.widgets.reading.selection import Selection


@pytest.mark.parametrize("ids", [[], [5], [3, 1, 2], range(0, 9000, 3), [1, 10**6, 2 * 10**6]])
def test_ids_survive_the_wire_in_order(ids):
    sent = json.loads(json.dumps(Selection().changed(selected=ids).to_wire()))
    assert Selection.from_wire(sent).selected == tuple(sorted(ids))


def test_a_large_selection_is_not_a_list_of_numbers():
    wire = Selection().changed(selected=range(60_000)).to_wire()
    assert len(json.dumps(wire)) < 11_000


def test_a_selection_is_a_value():
    one = Selection(epoch=5)
    other = one.changed(test=3, range=(20, 10))
    assert one == Selection(epoch=5)
    assert other.range == (10, 20)
    assert one.differences(other) == ["test", "range"]
    assert hash(one) == hash(Selection(epoch=5))


def test_a_misspelt_field_is_refused_with_the_ones_there_are():
    with pytest.raises(SettingError, match=r"'epcoh'.*epoch, test"):
        Selection().changed(epcoh=3)


def test_numpy_ids_become_plain_numbers():
    json.dumps(Selection().changed(test=np.int64(4), selected=np.arange(3)).to_wire())


def linked():
    said, box = [], []
    selection = LinkedSelection(
        lambda new: box[0]._tell(box[0]._hold(new), new), said.append, Selection()
    )
    box.append(selection)
    return selection, said


def test_observers_hear_only_of_the_fields_they_watch():
    selection, _ = linked()
    heard = []
    selection.observe(lambda change: heard.append((change.name, change.old, change.new)), "epoch")
    selection.set(epoch=5, test=2)
    selection.test = 3
    assert heard == [("epoch", 0, 5)]
    assert (selection.epoch, selection.test) == (5, 3)


def test_an_error_in_a_callback_is_reported_with_its_cause_and_stops_nobody():
    selection, said = linked()
    heard = []

    def broken(change):
        raise ValueError("no such figure")

    selection.observe(broken)
    selection.observe(lambda change: heard.append(change.new), "epoch")
    selection.epoch = 9
    assert heard == [9]
    assert "broken" in said[0]
    assert "ValueError: no such figure" in said[0]


def test_unobserve_and_misspelt_names():
    selection, _ = linked()
    heard = []
    callback = selection.observe(lambda change: heard.append(change), "epoch")
    selection.unobserve(callback)
    selection.epoch = 3
    assert heard == []
    with pytest.raises(SettingError):
        selection.observe(print, "epochs")
    with pytest.raises(AttributeError, match="tset"):
        _ = selection.tset
