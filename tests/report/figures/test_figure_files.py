"""Figures are written whole, in every format, at their size, with fonts embedded and the same bytes again."""

from __future__ import annotations

import re
import zlib

import matplotlib.pyplot as plt
import pytest

from qkld.report.figures.figure_files import column_figure, join_panels, save_figure, use_style


@pytest.fixture
def figure():
    use_style()
    figure, axes = column_figure(3.4, 0.75)
    axes[0].plot([1, 2], [1, 2])
    axes[0].set_xlabel("KLD ‖ (nats per token) ρ")
    yield figure
    plt.close(figure)


def test_every_format_is_written_and_not_empty(figure, tmp_path):
    paths = save_figure(figure, tmp_path, "one", ["pdf", "png", "svg"])
    assert [p.name for p in paths] == ["one.pdf", "one.png", "one.svg"]
    assert all(p.stat().st_size > 1000 for p in paths)
    assert [p.read_bytes()[:4] for p in paths[:2]] == [b"%PDF", b"\x89PNG"]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["one.pdf", "one.png", "one.svg"]


def test_png_is_a_column_wide_at_300_dots_an_inch(figure, tmp_path):
    (path,) = save_figure(figure, tmp_path, "one", ["png"])
    assert plt.imread(path).shape[:2] == (round(3.4 * 0.75 * 300), round(3.4 * 300))


def test_pdf_embeds_truetype_fonts(figure, tmp_path):
    (path,) = save_figure(figure, tmp_path, "one", ["pdf"])
    content = path.read_bytes()
    streams = re.findall(rb"stream\r?\n(.*?)\r?\nendstream", content, re.S)
    text = content + b"".join(zlib.decompress(s) for s in streams if s[:1] == b"\x78")
    assert b"/FontFile2" in text
    assert b"/Type3" not in text


def test_same_figure_gives_same_bytes(figure, tmp_path):
    first = [p.read_bytes() for p in save_figure(figure, tmp_path / "a", "one", ["pdf", "png"])]
    assert first == [p.read_bytes() for p in save_figure(figure, tmp_path / "b", "one", ["pdf", "png"])]


def test_a_failed_save_leaves_nothing(figure, tmp_path):
    with pytest.raises(KeyError):
        save_figure(figure, tmp_path, "one", ["nonsense"])
    assert not list(tmp_path.iterdir())


def test_joined_panels_keep_what_they_leave_out(figure):
    use_style()
    joined, axes = column_figure(3.4, 0.5, rows=2)
    axes[0].set_xlabel("KLD\nnot shown: a")
    axes[1].set_xlabel("KLD")
    for ax in axes:
        ax.plot([0], [0], label="x")
        ax.legend()
    join_panels(axes)
    assert [ax.get_xlabel() for ax in axes] == ["not shown: a", "KLD"]
    assert [ax.get_legend() is not None for ax in axes] == [True, False]
    assert tuple(joined.get_size_inches()) == pytest.approx((3.4, 3.4))
    plt.close(joined)
