"""Figures: one look for each method, scales that are shared, ticks that can be read, and nothing off the page."""

import itertools

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from semret.eval.report import palette
from semret.eval.report.cost_plots import Point, growth, pareto_front, trade_off
from semret.eval.report.distribution_plots import histograms, scatters
from semret.eval.report.palette import assign_styles, plain_logarithm, shorten, style_of
from semret.eval.report.plots import bars, curve_panels, curves, heat_maps


@pytest.fixture
def drawn(monkeypatch, tmp_path):
    """Draw into a file and return the figure; all its texts and axes must lie on the page."""
    kept = []

    def keep(figure, *arguments, **options):
        kept.append(figure)
        return original(figure, *arguments, **options)

    original = Figure.savefig
    monkeypatch.setattr(Figure, "savefig", keep)

    def draw(drawing):
        drawing(tmp_path / "figure.png")
        figure = kept[-1]
        renderer = FigureCanvasAgg(figure).get_renderer()
        figure.draw(renderer)
        box = figure.get_tightbbox(renderer)
        width, height = figure.get_size_inches()
        assert min(box.x0, box.y0) > -0.02
        assert box.x1 < width + 0.02
        assert box.y1 < height + 0.02
        titles = [axes.title.get_window_extent(renderer) for axes in figure.axes if axes.title.get_text()]
        assert not any(one.overlaps(other) for one, other in itertools.combinations(titles, 2))
        for axes in figure.axes:
            level = [label for label in axes.get_xticklabels() if label.get_text() and not label.get_rotation()]
            boxes = [label.get_window_extent(renderer) for label in level if label.get_visible()]
            assert not any(one.overlaps(other) for one, other in itertools.pairwise(boxes))
        for legend in figure.legends:
            box = legend.get_window_extent(renderer)
            assert not box.overlaps(figure._suptitle.get_window_extent(renderer))
            assert not any(box.overlaps(axes.get_window_extent(renderer)) for axes in figure.axes)
        return figure

    return draw


def texts(axis):
    return [label.get_text() for label in axis.get_ticklabels()]


def test_a_method_has_one_colour_and_its_family_shares_it():
    names = ["auction", "scipy", "batch-optimal 128", "batch-optimal 256", "greedy", "identity"]
    styles = assign_styles(names)
    assert styles["auction"].colour == style_of("auction").colour == style_of("scipy").colour
    assert styles["batch-optimal 128"].colour == styles["batch-optimal 256"].colour
    assert styles["batch-optimal 128"].marker != styles["batch-optimal 256"].marker
    families = ("auction", "batch-optimal 128", "greedy", "identity")
    assert len({styles[name].colour for name in families}) == len(families)
    invariances = ("pooled", "none", "maxsim", "permutation")
    assert len({style_of(name).colour for name in invariances}) == 4
    assert assign_styles(["permutation"])["permutation"] == assign_styles(list(invariances))["permutation"]


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([1.2, 7.0], ["1", "2", "5"]),
        ([0.02, 300.0], ["0.03", "0.1", "0.3", "1", "3", "10", "30", "100", "300"]),
        ([100, 4000], ["100", "200", "500", "1,000", "2,000", "5,000"]),
        ([2.0, 2.6], ["2", "3"]),
    ],
)
def test_logarithmic_axes_have_plain_numbers(values, expected):
    figure = Figure()
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    plain_logarithm(axes.xaxis, values)
    figure.draw_without_rendering()
    assert set(texts(axes.xaxis)) <= set(expected)
    assert 2 <= len(texts(axes.xaxis)) <= 8
    assert not any("$" in text for text in texts(axes.xaxis))
    assert axes.xaxis.get_minorticklabels() == []


def test_ticks_are_names_of_layers(drawn):
    layers = [f"vision_model.encoder.layers.{number}.mlp" for number in range(24)]
    figure = drawn(
        curves(
            range(24),
            {"a": np.linspace(0.9, 0.91, 24).tolist()},
            x_label="layer",
            y_label="CKA",
            title="t",
            ticks=layers,
            limits=(0, 1.02),
        )
    )
    axes = figure.axes[0]
    assert axes.get_ylim() == (0, 1.02)
    assert len(texts(axes.xaxis)) == 24
    assert all(len(text) <= 26 for text in texts(axes.xaxis))


def test_panels_of_curves_share_axes_and_draw_intervals(drawn):
    series = {kernel: [(0.5, 0.4, 0.6), (0.9, 0.8, 1.0)] for kernel in ("cosine", "linear", "rbf")}
    panels = {f"efficientnet-lite0@192x320, database of {size}": series for size in (300, 600, 900, 1200)}
    figure = drawn(
        curve_panels(panels, [10, 100], x_label="x", y_label="y", title="t", log_x=True, lines={"chance": 0.5})
    )
    assert len({axes.get_ylim() for axes in figure.axes}) == 1
    assert all(len(axes.collections) == 3 for axes in figure.axes[:4])
    assert len(figure.legends) == 1
    assert len(figure.legends[0].get_texts()) == 4


def test_bars_name_their_axes_and_lines(drawn):
    series = {name: [(0.5, 0.4, 0.6)] * 3 for name in ("pooled", "none", "maxsim", "permutation")}
    figure = drawn(
        bars(
            ["cosine", "linear", "rbf"],
            series,
            label="F1@1",
            title="t",
            lines={"oracle": 1.0, "chance": 0.144},
            x_label="kernel",
            limits=(0, 1.05),
            caption="Means of 100 queries; whiskers: 95 % intervals.",
        )
    )
    shown = [text.get_text() for text in figure.findobj(lambda artist: hasattr(artist, "get_text"))]
    assert {" oracle 1.000", " chance 0.144", "kernel", "F1@1"} <= set(shown)
    assert any("95 % intervals" in text for text in shown)


def test_bins_follow_the_number_of_values_and_are_shared(drawn):
    rng = np.random.default_rng(0)
    panels = {
        f"{layer}, {kind}": {"overlapping": rng.normal(size=12) + shift, "different": rng.normal(size=300)}
        for kind, shift in (("none", 0), ("permutation", 3))
        for layer in ("a", "b")
    }
    figure = drawn(histograms(panels, x_label="x", title="t", columns=2))
    counts = [len(container.patches) for axes in figure.axes for container in axes.containers]
    assert set(counts) == {5}
    assert figure.axes[0].get_xlim() == figure.axes[2].get_xlim()
    assert len({axes.get_ylim() for axes in figure.axes}) == 1
    assert [text.get_text() for text in figure.legends[0].get_texts()] == [
        "overlapping (12 pairs)",
        "different (300 pairs)",
    ]


def test_matrices_to_be_compared_share_one_scale_of_colours(drawn):
    panels = {"one": np.array([[0.0, 0.2], [0.2, 0.4]]), "other": np.array([[0.5, 0.6], [0.6, 1.0]])}
    figure = drawn(
        heat_maps(panels, title="t", x_label="x", y_label="y", bar_label="b", ticks=(["a", "b"], ["c", "d"]))
    )
    assert len(figure.axes) == 3  # two panels, one bar
    assert {axes.images[0].get_clim() for axes in figure.axes[:2]} == {(0.0, 1.0)}
    figure = drawn(
        heat_maps({"d": panels["one"] - 0.3}, title="t", x_label="x", y_label="y", bar_label="b", diverging=True)
    )
    assert figure.axes[0].images[0].get_clim() == pytest.approx((-0.3, 0.3))


@pytest.mark.parametrize("count", [50, 5000])
def test_points_share_their_axes(drawn, count):
    rng = np.random.default_rng(0)
    panels = {f"{kernel}, {kind}": (rng.random(count), scale * rng.random(count))
              for kind in ("none", "permutation") for kernel, scale in (("cosine", 1), ("linear", 30000))}  # fmt: skip
    figure = drawn(scatters(panels, x_label="x", y_label="y", title="t", columns=2))
    assert figure.axes[0].get_ylim() == figure.axes[2].get_ylim() != figure.axes[1].get_ylim()
    if count > 2000:
        norms = {(image.norm.vmin, image.norm.vmax) for axes in figure.axes[:4] for image in axes.collections}
        assert len(norms) == 1


def test_the_pareto_front_holds_what_nothing_beats():
    points = {name: Point(x, y, (x, x), (y, y)) for name, x, y in
              (("slow", 9, 100), ("fast", 1, 60), ("bad", 5, 50), ("good", 4, 90), ("twin", 9, 100))}  # fmt: skip
    assert pareto_front(points) == ["fast", "good", "slow"]


def test_costs_are_drawn_with_plain_ticks(drawn):
    methods = ["auction", *(f"batch-optimal {window}" for window in (16, 64, 256)), "identity"]
    panels = {f"layer {n}": {m: Point(0.02 * 4**i, 60 + 10 * i, (0.01 * 4**i, 0.03 * 4**i), (55, 100)) for i, m in
                             enumerate(methods)} for n in range(4)}  # fmt: skip
    figure = drawn(trade_off(panels, x_label="x", y_label="y", title="t", caption="c"))
    assert all(any(text for text in texts(axes.xaxis)) for axes in figure.axes[1:])
    times = {method: {49: (0.1, 0.09, 0.2), 1024: (30.0, 20.0, 40.0)} for method in methods}
    figure = drawn(growth([49, 1024], times, x_label="S", y_label="ms", title="t"))
    assert texts(figure.axes[0].xaxis) == ["49", "1,024"]
    assert not any("$" in text for text in texts(figure.axes[0].yaxis))


def test_times_over_many_decades_have_ticks_with_room_between_them(drawn):
    points = {
        "identity": Point(0.0002, 50.0, (0.0001, 0.0004), (40.0, 60.0)),
        "scipy": Point(9000.0, 100.0, (8000.0, 12_000.0), (100.0, 100.0)),
    }
    panels = {f"layer {number}": points for number in range(3)}
    figure = drawn(trade_off(panels, x_label="x", y_label="y", title="t"))
    assert 3 <= len([text for text in texts(figure.axes[0].xaxis) if text]) <= 5


@pytest.mark.parametrize("methods", [2, 12])
def test_a_long_title_runs_into_no_legend(drawn, methods):
    title = "efficientnet-lite0@128x128: overlapping crops against different pictures"
    series = {f"method {number}": [0.5, 0.9] for number in range(methods)}
    lines = {"chance": 0.5, "always told apart": 1.0}
    drawn(curves([0, 1], series, x_label="x", y_label="y", title=title, lines=lines))


def test_long_names_are_shortened_in_the_middle():
    assert shorten("blocks.3") == "blocks.3"
    assert len(shorten("x" * 50)) == 26
    assert shorten("vision_model.encoder.layers.11.norm").startswith("vision_model")
    assert palette.shorten("vision_model.encoder.layers.11.norm").endswith(".11.norm")
