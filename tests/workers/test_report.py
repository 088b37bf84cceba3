# ruff: noqa: RUF001 - the page writes true minus and multiplication signs
from __future__ import annotations

import base64
import copy
import hashlib
import json
import re
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from evolve.empirical_game import EmpiricalGame
from evolve.program import Program
from evolve.scoring import OpponentReturn
from tests.workers.browser import chromium
from tests.workers.run_directory import finished_run, write_json
from workers.report import render_report
from workers.report.charts import Point, Series, bar_charts, line_chart, nice_ticks, stacked_columns
from workers.report.figures import Figure, compact, duration, share
from workers.report.listing import flowing, highlighted, unified_diff, visible

VOID = {"meta", "br", "link", "img", "hr", "input"}
HOSTILE = '</script></style></pre><img src="http://evil.example/x" onerror="alert(1)">'
HOSTILE_SOURCE = f'''class Policy:
    """Wins. {HOSTILE}"""

    TEXT = "{HOSTILE.replace('"', "'")}"  # {HOSTILE}
'''


class Page(HTMLParser):
    """Checks that tags balance; collects elements, attributes and text."""

    def __init__(self, html: str) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.words: list[str] = []
        self.styles: list[str] = []
        self.feed(html)
        self.close()
        assert self.open == [], self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {name: value or "" for name, value in attrs}))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {name: value or "" for name, value in attrs}))

    def handle_endtag(self, tag: str) -> None:
        assert self.open and self.open[-1] == tag, f"</{tag}> closes {self.open[-3:]}"
        self.open.pop()

    def handle_data(self, data: str) -> None:
        (self.styles if self.open and self.open[-1] == "style" else self.words).append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())

    def all(self, tag: str) -> list[dict[str, str]]:
        return [attributes for name, attributes in self.elements if name == tag]


def shown(run_dir: Path) -> Page:
    return Page(render_report(run_dir).read_text(encoding="utf-8"))


def edit_summary(run_dir: Path, **changes: object) -> None:
    path = run_dir / "summary.json"
    write_json(path, {**json.loads(path.read_text()), **changes})


# -- what it shows ---------------------------------------------------------------------------------------------------


def test_headline_figures_stand_with_their_errors_and_matches(tmp_path: Path) -> None:
    finished_run(tmp_path / "run")
    text = shown(tmp_path / "run").text
    assert "PopReturn 41.2 ± 1.2" in text and "AggScore, split-half −269.2 ± 4.8" in text
    assert "has the value 0 and the exploitability 0" in text
    assert "100 matches per bot" in text and "Worst opponent: bot1" in text
    assert "0 br-0 200.0 ± 7.5 64 seed 100 % 160 3 timeout 160 38 s" in text
    assert "2 br-2 138.0 ± 7.5 64" in text and "3 timeout, 2 illegal action" in text
    assert "Sandbox level 4 of 4 Layers no_new_privs, landlock, seccomp, namespaces" in text
    assert "480 LLM calls, 1,200,000 tokens in, 310,500 tokens out, 0.00 USD" in text
    assert "unfinished" not in text and 'name = "repeated_rps"' in text


def test_every_section_has_its_charts_and_tables(tmp_path: Path) -> None:
    finished_run(tmp_path / "run")
    page = shown(tmp_path / "run")
    charts = [svg["aria-label"] for svg in page.all("svg")]
    assert len(charts) == 1 + 1 + 1 + 3  # bots, best responses, meta-strategy, islands of three iterations
    assert all(svg["role"] == "img" for svg in page.all("svg"))
    assert len(page.all("table")) == len(page.all("caption"))
    assert all(th.get("scope") in ("col", "row") for th in page.all("th"))
    assert all(a["href"].startswith("#") for a in page.all("a"))
    ids = {attributes["id"] for _, attributes in page.elements if "id" in attributes}
    assert {a["href"][1:] for a in page.all("a")} <= ids


def test_payoffs_are_written_with_errors_and_both_signs_of_shade(tmp_path: Path) -> None:
    finished_run(tmp_path / "run")
    page = shown(tmp_path / "run")
    cells = [td for td in page.all("td") if "shade" in td.get("class", "")]
    assert len(cells) == 16 + 9 + 4 + 1
    shades = {cell["class"].split()[-1] for cell in cells}
    assert "s0" in shades and any(s.startswith("sn") for s in shades) and ("s10" in shades or "sn10" in shades)
    assert any(re.fullmatch(r"br-0 against seed: −?[\d.]+ ± 6\.5, 16 matches", cell["title"]) for cell in cells)
    assert any(cell["title"] == "seed against seed: 0 (exact), 0 matches" for cell in cells)


def test_a_large_payoff_matrix_is_colours_with_the_newest_in_numbers_too(tmp_path: Path) -> None:
    finished_run(tmp_path / "run", policies=12)
    page = shown(tmp_path / "run")
    matrices = [t["class"] for t in page.all("table") if "matrix" in t.get("class", "")]
    assert matrices == ["matrix dense", "matrix", "matrix dense", *["matrix"] * 10]
    assert "Iteration 11: 12 × 12 policies, with numbers" in page.text


def test_promoted_programs_show_what_changed_from_the_nearest_kept_ancestor(tmp_path: Path) -> None:
    run = finished_run(tmp_path / "run")
    text = shown(run.path).text
    assert "3 programs in its lineage" in text and "210.0 ± 9.0" in text
    assert "What it changed from" in text and '- """On the way."""' in text
    assert '+ """Answers the last throw, shifted by 1."""' in text
    events = [json.loads(line) for line in (run.path / "events.jsonl").read_text().splitlines()]
    for event in events:
        for ancestor in event.get("lineage", []):
            ancestor.pop("source", None)
    (run.path / "events.jsonl").write_text("\n".join(map(json.dumps, events)))
    text = shown(run.path).text
    assert "What it changed from seed, 2 generations before" in text
    assert '- """Answers the last throw, shifted by 0."""' in text


def test_pool_is_in_the_order_of_promotion(tmp_path: Path) -> None:
    run = finished_run(tmp_path / "run", policies=12)
    page = shown(run.path)
    articles = [a["id"].removeprefix("policy-") for a in page.all("article") if "id" in a]
    assert articles == [program.id for program in run.programs]


def test_pibr_profile_and_social_welfare(tmp_path: Path) -> None:
    run = finished_run(tmp_path / "run")
    ids = [run.programs[1].id, run.programs[2].id]
    welfare = {"mean": 21.5, "stderr": 0.25, "matches": 40}
    edit_summary(run.path, method="pibr", final={"profile": ids, "social_welfare": welfare})
    page = shown(run.path)
    assert "Social welfare 21.50 ± 0.25" in page.text and "Player 0 br-0 Player 1 br-1" in page.text
    edit_summary(run.path, final={"profile": {"row": ids[0]}, "social_welfare": 22})
    assert "Social welfare 22.0 ± ?" in shown(run.path).text and "Player row br-0" in shown(run.path).text


def test_second_populations_result_and_an_early_stop(tmp_path: Path) -> None:
    run = finished_run(tmp_path / "run")
    final = json.loads((run.path / "summary.json").read_text())["final"]
    opponent = {"meta_strategy": {run.programs[1].id: 1.0}, "pop_return": -7.5, "pop_return_stderr": 0.5}
    edit_summary(run.path, final={**final, "opponent": opponent}, stopped="the budget of LLM calls is spent")
    text = shown(run.path).text
    assert "Stopped early: the budget of LLM calls is spent." in text
    assert "Player 1 PopReturn −7.50 ± 0.50" in text and "Player 0 PopReturn 41.2" in text
    assert text.count("100 % of the final mixture") == 2


def test_two_populations_get_a_mixture_each_and_general_sum_a_matrix_each(tmp_path: Path) -> None:
    run = finished_run(tmp_path / "run")
    a, b, c = (program.id for program in run.programs[:3])
    for utility, matrices in (("zero_sum", 1), ("general_sum", 2)):
        game = EmpiricalGame(utility, False, ((a, b), (c,)))  # type: ignore[arg-type]
        for profile in game.missing():
            estimates = [OpponentReturn(3.0, 0.5, 8), OpponentReturn(-3.0, 0.5, 8)]
            game = game.with_payoff(profile, *(estimates if matrices == 2 else estimates[:1]))
        entry = {"iteration": 0, "meta_strategy": [{a: 0.25, b: 0.75}, {c: 1.0}], **game.to_json()}
        write_json(run.path / "payoffs.json", {"iterations": [entry]})
        page = shown(run.path)
        assert sum("matrix" in t.get("class", "") for t in page.all("table")) == matrices
        assert "Population 0: how much" in page.text and "Population 1: how much" in page.text
        assert "Iteration 0: 2 × 1 policies" in page.text


def test_three_players_see_their_policies_against_the_others_mixtures(tmp_path: Path) -> None:
    run = finished_run(tmp_path / "run")
    game = EmpiricalGame("general_sum", False, (("a", "d"), ("b",), ("c", "e")))
    for k, profile in enumerate(game.missing()):
        game = game.with_payoff(profile, *(OpponentReturn(float(player + k), 0.3, 5) for player in range(3)))
    weights = [{"a": 0.5, "d": 0.5}, {"b": 1.0}, {"c": 1.0, "e": 0.0}]
    entry = {"iteration": 0, "meta_strategy": weights, **game.to_json()}
    write_json(run.path / "payoffs.json", {"iterations": [entry]})
    page = shown(run.path)
    assert "Population 2: how much" in page.text
    for player in range(3):
        assert f"return of player {player}'s policies against the other players' mixtures" in page.text
    # Profiles (a b c), (a b e), (d b c), (d b e) are numbered 0 to 3; player 1's policy meets 0 and 2 half of the time.
    assert "b against mixtures: 2.00 ± 0.21, 10 matches" in (run.path / "report.html").read_text()


def test_each_of_three_players_has_its_results(tmp_path: Path) -> None:
    run = finished_run(tmp_path / "run")
    summary = json.loads((run.path / "summary.json").read_text())
    final = summary["final"]
    final["players"] = [dict(final), {**final, "pop_return": 7.5}, {**final, "pop_return": 8.5}]
    final["opponent"] = final["players"][1]
    final |= {"nash_conv": 0.25, "payoff_matches": 4200, "top_up_matches": 600}
    write_json(run.path / "summary.json", summary)
    text = shown(run.path).text
    assert all(f"Player {player}" in text for player in range(3))
    assert "0.25 (exact)" in text and "Matches behind the payoffs" in text and "4,200" in text and "600" in text


# -- runs that did not end, files that do not read ---------------------------------------------------------------------


def test_an_empty_directory_renders_with_notes(tmp_path: Path) -> None:
    text = shown(tmp_path).text
    for name in ("summary.json", "payoffs.json", "events.jsonl", "experiment.toml"):
        assert f"{name} is not there" in text
    assert "unfinished" in text and "No iteration has ended yet" in text and "No final evaluation" in text


def test_no_directory_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no run directory at"):
        render_report(tmp_path / "nowhere")


def test_half_written_files_are_noted_and_the_rest_shown(tmp_path: Path) -> None:
    run = finished_run(tmp_path / "run")
    events = (run.path / "events.jsonl").read_text()
    (run.path / "events.jsonl").write_text(events[:-20])
    (run.path / "summary.json").write_text('{"run_id": "x", "fin')
    text = shown(run.path).text
    assert "summary.json does not read" in text and "events.jsonl: 1 line does not read" in text
    assert "Iteration 3: 4 × 4 policies" in text


def test_an_iteration_without_a_promotion_and_a_match_without_an_error(tmp_path: Path) -> None:
    run = finished_run(tmp_path / "run")
    summary = json.loads((run.path / "summary.json").read_text())
    summary["iterations"][0]["best_response"] = None
    summary["iterations"][1]["best_response"] |= {"stderr": float("nan"), "matches": 1}
    edit_summary(run.path, iterations=summary["iterations"])
    text = shown(run.path).text
    assert "0 none promoted – –" in text and "1 br-1 169.0 ± ? 1" in text


def places(value: Any, depth: int = 4) -> Iterator[list[Any]]:
    """Paths to every value inside ``value``."""
    inside = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, child in inside:
        yield [key]
        if depth:
            yield from ([key, *path] for path in places(child, depth - 1))


JUNK: tuple[object, ...] = ("text", 3, [], {}, [[None]], {"a": {"b": []}})


@pytest.mark.parametrize("name", ["summary.json", "payoffs.json"])
@pytest.mark.parametrize("shift", [0, 1])
def test_no_value_of_a_wrong_type_stops_the_report(tmp_path: Path, name: str, shift: int) -> None:
    run = finished_run(tmp_path / "run", policies=2, bots=1)
    (run.path / "events.jsonl").unlink()
    content = json.loads((run.path / name).read_text())
    for k, path in enumerate(places(content)):
        changed = copy.deepcopy(content)
        holder = changed
        for key in path[:-1]:
            holder = holder[key]
        holder[path[-1]] = JUNK[(k + shift) % len(JUNK)]
        write_json(run.path / name, changed)
        assert render_report(run.path).is_file()


# -- safety ----------------------------------------------------------------------------------------------------------


def hostile_run(path: Path) -> Page:
    run = finished_run(path, extra_source=HOSTILE_SOURCE)
    summary = json.loads((path / "summary.json").read_text())
    summary["final"]["by_opponent"][HOSTILE] = {"mean": 1, "stderr": 1}
    summary["iterations"][0]["failures"][HOSTILE] = 1
    summary["iterations"][0]["best_response"]["id"] = HOSTILE
    edit_summary(path, run_id=HOSTILE, game=HOSTILE, final=summary["final"], iterations=summary["iterations"])
    (path / "experiment.toml").write_text(HOSTILE)
    payoffs = json.loads((path / "payoffs.json").read_text().replace(run.programs[1].id, "</td><script>"))
    write_json(path / "payoffs.json", payoffs)
    with (path / "events.jsonl").open("a") as events:
        lineage = [{"id": HOSTILE, "parents": [HOSTILE], "operator": HOSTILE, "source": HOSTILE}]
        event = {"type": "promotion", "iteration": 9, "id": HOSTILE, "operator": HOSTILE, "lineage": lineage}
        events.write(json.dumps({**event, "parents": [HOSTILE]}) + "\n")
    return shown(path)


def test_hostile_text_stays_text(tmp_path: Path) -> None:
    page = hostile_run(tmp_path / "run")
    assert page.text.count("onerror=") >= 8  # shown to the reader, in each place it was put
    for tag, attributes in page.elements:
        assert tag not in ("script", "img", "iframe", "object", "link", "base", "form")
        assert not any(name.startswith("on") or name in ("style", "src", "srcset", "action") for name in attributes)
        assert attributes.get("href", "#").startswith("#")


def test_policy_allows_the_style_sheet_and_nothing_else(tmp_path: Path) -> None:
    page = hostile_run(tmp_path / "run")
    policies = [m["content"] for m in page.all("meta") if m.get("http-equiv") == "Content-Security-Policy"]
    assert len(page.styles) == 1
    digest = base64.b64encode(hashlib.sha256(page.styles[0].encode()).digest()).decode()
    assert policies == [f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"]
    assert not re.search(r"url\(|@import|https?:", page.styles[0])


def test_a_docstring_flows_in_paragraphs() -> None:
    assert flowing("One\n    line.\n\nTwo\nlines:\n- a\n- b") == "One line.\n\nTwo lines:\n- a\n- b"


def test_invisible_characters_are_spelled_out() -> None:
    """A right-to-left override makes code read otherwise than it runs."""
    assert visible("a\u202eb\x00c\ud800\n\td") == "a\\u202eb\\u0000c\\ud800\n\td"
    assert "\\u202e" in highlighted("x = '\u202e'") and "\u202e" not in unified_diff("x", "\u202e")


def test_lone_surrogates_in_the_files_do_not_stop_it(tmp_path: Path) -> None:
    run = finished_run(tmp_path / "run")
    edit_summary(run.path, run_id="\ud800")
    assert "\\ud800" in shown(run.path).text


# -- parts -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("figure", "text"),
    [
        (Figure(12.345, 0.42), "12.35 ± 0.42"),
        (Figure(-269.25, 4.75), "−269.2 ± 4.8"),
        (Figure(1234.5, 37.0), "1,234 ± 37"),
        (Figure(-0.001, 0.31), "0.00 ± 0.31"),
        (Figure(40.19, 0.0, 0), "40.19 (exact)"),
        (Figure(40.0, 0.0, 5), "40 ± 0"),
        (Figure(3.0), "3.0 ± ?"),
    ],
)
def test_a_figure_has_the_digits_its_error_allows(figure: Figure, text: str) -> None:
    assert str(figure) == text


def test_durations_and_shares() -> None:
    assert [duration(s) for s in (0.44, 12, 185, 7800)] == ["0.4 s", "12 s", "3 min 05 s", "2 h 10 min"]
    assert [share(w) for w in (1.0, 0.126, 0.001, 0.0)] == ["100 %", "13 %", "<1 %", "0 %"]


def test_axis_numbers_are_short_and_never_in_powers() -> None:
    assert [compact(v) for v in (-1000.0, 12345.6, 0.25, -2.5, 1e-14)] == ["−1,000", "12,346", "0.25", "−2.5", "0"]


def test_ticks_are_round_and_cover_the_range() -> None:
    assert nice_ticks(-149, 149) == [-200, -100, 0, 100, 200]
    assert nice_ticks(0, 0.3) == [0, 0.1, 0.2, 0.3]
    for low, high in ((-0.007, 0.0021), (3, 3), (1e6, 3e6)):
        ticks = nice_ticks(low, high)
        assert ticks[0] <= low and ticks[-1] >= high and 2 <= len(ticks) <= 8


def test_stacked_shares_fill_the_column() -> None:
    chart = stacked_columns([("0", {"a": 0.25, "b": 0.75})], ["a", "b", "c"], {"a": "A"}, "t", "iteration")
    rects = [
        (float(y), float(h))
        for y, h in re.findall(r'<rect x="[^"]*" y="([^"]*)" width="[^"]*" height="([^"]*)"', chart)
    ]
    (low, quarter), (high, rest) = rects
    assert quarter == 45 and rest == 135 and high + rest == low and "A 25.0 %" in chart


def test_lines_break_where_an_island_was_reset_and_errors_have_whiskers() -> None:
    runs = ((Point(0, 1, 0.5), Point(1, 2, 0.5)), (Point(2, 0, 0.5),))
    chart = line_chart([Series("island 0", runs)], "t", "x", "y")
    assert chart.count("<polyline") == 2 and chart.count('class="error"') == 9
    assert line_chart([Series("empty", ((),))], "t", "x", "y") == ""


def test_many_bars_share_one_scale() -> None:
    rng = np.random.default_rng(0)
    charts = bar_charts([(f"<bot {k}>", Figure(float(v), 1.0, 9)) for k, v in enumerate(rng.normal(0, 50, 43))], "t")
    ticks = [re.findall(r'class="tick"[^>]*>([^<]*)<', chart) for chart in charts]
    assert len(charts) == 2 and ticks[0] == ticks[1] and [c.count("<rect") for c in charts] == [22, 21]
    assert "<bot" not in charts[0] and "&lt;bot 0&gt;" in charts[0]


def test_diff_is_against_the_text_and_says_when_there_is_none() -> None:
    diff = unified_diff("a\nb\n", "a\nc <b>\n")
    assert '<span class="del">-b</span>' in diff and '<span class="add">+c &lt;b&gt;</span>' in diff
    assert unified_diff("a", "a") == "no difference in text"


def test_fixture_ids_are_content_ids(tmp_path: Path) -> None:
    run = finished_run(tmp_path / "run")
    files = {Program(path.read_text()).id for path in (run.path / "policies").glob("*.py")}
    assert files == {program.id for program in run.programs}


# -- in a browser ------------------------------------------------------------------------------------------------------

TOO_WIDE = "document.documentElement.scrollWidth - window.innerWidth"
OPEN_ALL = "document.querySelectorAll('details').forEach(d => d.open = true)"
POOR_CONTRAST = """(() => {
  const canvas = document.createElement('canvas').getContext('2d', {willReadFrequently: true});
  const rgba = c => { canvas.clearRect(0, 0, 1, 1); canvas.fillStyle = c; canvas.fillRect(0, 0, 1, 1);
                      return [...canvas.getImageData(0, 0, 1, 1).data]; };
  const linear = v => (v /= 255) <= .04045 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4;
  const light = c => { const [r, g, b] = rgba(c).map(linear);
                       return .2126 * r + .7152 * g + .0722 * b; };
  const behind = e => { for (; e; e = e.parentElement) {
      const c = getComputedStyle(e).backgroundColor; if (rgba(c)[3] > 250) return c; }
      return getComputedStyle(document.body).backgroundColor; };
  const poor = [];
  for (const e of document.body.querySelectorAll('*')) {
    if (e.classList.contains('inside') || ![...e.childNodes].some(n => n.nodeType === 3 && n.data.trim())) continue;
    if (e.closest('title') || e.classList.contains('inner') && e.closest('.dense')) continue;
    const style = getComputedStyle(e);
    const pair = [light(e.closest('svg') ? style.fill : style.color), light(behind(e))].sort((a, b) => b - a);
    const ratio = (pair[0] + .05) / (pair[1] + .05);
    if (ratio < 4.5) poor.push(e.tagName + '.' + e.getAttribute('class') + ' ' + ratio.toFixed(2));
  }
  return [...new Set(poor)];
})()"""


@pytest.mark.slow
async def test_in_chromium_it_fits_reads_and_loads_nothing(tmp_path: Path) -> None:
    finished_run(tmp_path / "run", policies=12, bots=43, extra_source=HOSTILE_SOURCE + "# " + "x" * 400 + "\n")
    url = render_report(tmp_path / "run").as_uri()
    async with chromium(tmp_path / "profile") as page:
        for width in (390, 1280):
            for scheme in ("light", "dark"):
                await page.open(url, width, scheme=scheme)
                assert await page.evaluate(TOO_WIDE) <= 0, (width, scheme)
                await page.evaluate(OPEN_ALL)
                assert await page.evaluate(TOO_WIDE) <= 0, (width, scheme, "all open")
                assert await page.evaluate(POOR_CONTRAST) == [], (width, scheme)
                assert (
                    await page.evaluate("getComputedStyle(document.querySelector('table')).borderCollapse")
                    == "collapse"
                )
        assert page.messages == []
        assert set(page.requests) == {url}


@pytest.mark.slow
async def test_in_chromium_the_keyboard_reaches_and_opens_everything(tmp_path: Path) -> None:
    finished_run(tmp_path / "run")
    async with chromium(tmp_path / "profile") as page:
        await page.open(render_report(tmp_path / "run").as_uri(), 1280)
        summaries = await page.evaluate("document.querySelectorAll('summary').length")
        reached = set()
        for _ in range(200):
            await page.press("Tab")
            if await page.evaluate("document.activeElement.tagName") == "SUMMARY":
                which = "[...document.querySelectorAll('summary')].indexOf(document.activeElement)"
                reached.add(await page.evaluate(which))
            if len(reached) == summaries:
                break
        assert len(reached) == summaries > 10
        before = await page.evaluate("document.activeElement.parentElement.open")
        await page.press("Enter")
        assert await page.evaluate("document.activeElement.parentElement.open") is not before
