"""Programs are read as text by many threads at a time."""

from __future__ import annotations

import gc
import threading

from evolve.program import Program, parse

SOURCE = "\n".join(f"def f{i}(x):\n    return [x + {i}, (x, [x, {{x: -x}}])]" for i in range(200))


def test_threads_parse_at_a_time() -> None:
    """One thread is stopped in the middle of its tree, by the garbage collector, until another has parsed."""
    other = threading.Thread(target=parse, args=("x = 1",))
    parsing = threading.get_ident()

    def interrupt(phase: str, _: dict[str, int]) -> None:
        if phase == "start" and threading.get_ident() == parsing and other.ident is None:
            other.start()
            other.join(0.2)

    thresholds = gc.get_threshold()
    gc.set_threshold(50)
    gc.callbacks.append(interrupt)
    try:
        tree = parse(SOURCE)
    finally:
        gc.callbacks.remove(interrupt)
        gc.set_threshold(*thresholds)
    assert other.ident is not None
    other.join()
    assert len(tree.body) == 200


def test_layout_and_comments_do_not_change_the_id() -> None:
    assert Program("x = 1  # one\n").id == Program("x=1").id != Program("x = 2").id
    assert Program("x = (\n").id == Program("x = (  \n\n").id
