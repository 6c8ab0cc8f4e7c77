"""The board's light says what `validity_light` says, for the method on screen."""

import numpy as np
import xarray as xr

import dg_explorer as dg
from dg_explorer.evaluation import validity_light
from dg_explorer.testing import tiny_run
from dg_explorer.widgets.reading.lights import lights
from dg_explorer.widgets.reading.reader import RunReader


def checked(smooth, lds):
    run = tiny_run()
    run.add("scores/other", run["scores/trak"].load())
    epoch = {"epoch": [0, 30]}
    run.add("validity/metasmoothness", xr.Dataset({"metasmoothness": ("epoch", smooth)}, epoch))
    dims = ("method", "epoch")
    values = np.array([lds, [-0.5, -0.5]])
    found = {"lds": values, "low": values - 0.05, "high": values + 0.05}
    run.add(
        "validity/lds",
        xr.Dataset(
            {k: (dims, v) for k, v in found.items()}, {"method": ["trak", "other"], **epoch}
        ),
    )
    return run


def test_nothing_is_said_where_nothing_was_checked():
    assert lights(RunReader(tiny_run())) == {}


def test_each_method_has_a_light_of_its_own():
    found = lights(RunReader(checked([0.95, 0.3], [0.6, 0.6])))
    assert found["light/trak/epoch"].tolist() == [0, 5, 30, 35]
    assert found["light/trak/level"].tolist() == [2, 0, 0, 3]  # green; red, as chaos spoils all
    assert found["light/other/level"].tolist() == [0, 0, 0, 3]  # worse than chance
    assert found["light/trak/text"][3] == "validity not measured here"
    assert found["light/trak/text"][0] == "validity green: metasmoothness 0.95, LDS 0.60"


def test_other_starts_have_a_light_where_they_were_tried():
    run = checked([0.95, 0.3], [0.6, 0.6])
    assert not any("/any/" in name for name in lights(RunReader(run)))
    there = run["checks/lds"].load().assign_attrs(start="any")
    run.keep("checks/lds", there)
    found = lights(RunReader(run))
    epochs = found["light/trak/any/epoch"].tolist()
    for epoch, level in zip(epochs, found["light/trak/any/level"], strict=True):
        light = validity_light(run, epoch, method="trak", start="any")
        assert ["red", "amber", "green", "grey"][level] == light.colour
    assert "LDS 0.60" in found["light/trak/any/text"][0]


def test_the_reasons_are_those_of_the_record():
    run = checked([0.95, 0.3], [0.6, 0.6])
    light = validity_light(run, 30, method="trak")
    assert not light.causal
    detail = lights(RunReader(run))["light/trak/detail"][2]
    assert detail.startswith(" ".join(light.reasons))
    assert "From other starts, grey" in detail


def test_the_validity_tab_keeps_methods_apart():
    from dg_explorer.widgets.answers.sources import Sources
    from dg_explorer.widgets.answers.validity import validity
    from dg_explorer.widgets.reading.faces import Faces

    reader = RunReader(checked([0.95, 0.3], [0.6, 0.2]))
    found = validity(Sources(reader, Faces(reader)))
    curves = {
        method: found[f"curve/{i}/value"]
        for i, (name, method) in enumerate(zip(found["names"], found["method"]))
        if name == "Linear datamodeling score"
    }
    np.testing.assert_allclose(curves["TRAK"], [0.6, 0.2], rtol=1e-6)
    np.testing.assert_allclose(curves["other"], [-0.5, -0.5])


def test_tables_and_figures_carry_the_light():
    run = checked([0.95, 0.3], [0.6, 0.6])
    for epoch, colour in ((0, "green"), (30, "red")):
        board = dg.explore(run, epoch=epoch)
        assert board.top_influencers().attrs["validity"] == colour
        assert board.selected_frame().attrs["validity"] == colour
        assert board.to_plotly().layout.meta["validity"] == colour
    reasons = " ".join(validity_light(run, 30, method="trak").reasons)
    assert board.top_influencers().attrs["validity_reasons"] == reasons


def test_a_figure_under_a_red_light_names_no_causes():
    run = checked([0.95, 0.3], [0.6, 0.6])
    said = {epoch: dg.explore(run, epoch=epoch).to_plotly().to_json() for epoch in (0, 30)}
    causes = ("raised", "Influence on")
    assert all(word in said[0] for word in causes)
    assert not any(word in said[30] for word in causes)


def test_the_validity_tab_draws_of_a_replay_only_how_far_it_ends_from_the_record():
    from dg_explorer.widgets.answers.sources import Sources
    from dg_explorer.widgets.answers.validity import validity
    from dg_explorer.widgets.reading.faces import Faces

    run, ends = tiny_run(), [5, 10]
    columns = {"first_step": [0, 5], "last_step": [4, 9], "moved": [1.0, 2.0], "distance": [0, 0.1]}
    table = xr.Dataset({k: ("epoch", np.array(v, float)) for k, v in columns.items()})
    run.add("validity/replay", table.assign_coords(epoch=ends))
    found = validity(Sources(RunReader(run), Faces(RunReader(run))))
    assert found["names"] == ["Replay against the record"]
    np.testing.assert_allclose(found["curve/0/value"], [0, 0.1])
