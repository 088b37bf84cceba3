"""Hostile programs in a game of programs, by way of ``simulate``: adds to ``hostile_corpus.CORPUS``.

They sit in seat 0 of a 3x3 game against a victim that simulates them, so each of them runs once more there, as the
simulated child of its opponent; those that simulate themselves do so in seat 1. Action 2 says that it got through.
"""

from __future__ import annotations

from hostile_corpus import MARKER, attempt, faulty, legal

_ASK = """
from sandbox import wire
import gc, os, struct
sequence = next(o for o in gc.get_objects() if type(o).__name__ == 'Alarm').sequence
def frame(slot=0, first=b'x', second=b'y', lengths=None, number=None, flag=8):
    first_length, second_length = lengths or (len(first), len(second))
    number = int.from_bytes(sequence, 'little') if number is None else number
    return struct.pack('<IBIII', number, flag, slot, first_length, second_length) + first + second
"""


def forged(kinds: str, **bodies: str) -> None:
    """Programs that write to the referee's pipe themselves, in seat 0 only."""
    lines = {name: f"if seen['player'] == 1: return 0\n{_ASK}\n{body}" for name, body in bodies.items()}
    texts = {name: "\n    ".join(["def policy(seen):", *line.splitlines()]) for name, line in lines.items()}
    faulty("simulate", kinds, **texts)


forged(
    "killed",
    not_utf8="os.write(1, frame(first=bytes([0xff, 0xfe, 0x80])))\nos.read(0, 8)\nreturn 0",
    surrogates_on_the_wire="os.write(1, frame(second=bytes([0xed, 0xa0, 0x80])))\nos.read(0, 8)\nreturn 0",
    huge_length="os.write(1, frame(lengths=(2**32 - 1, 2**32 - 1)))\nos.read(0, 8)\nreturn 0",
    slot_of_nobody="os.write(1, frame(slot=1))\nos.read(0, 8)\nreturn 0",
    another_step="os.write(1, frame(number=77))\nos.read(0, 8)\nreturn 0",
    half_a_question="os.write(1, frame(lengths=(100, 100)))\nos.read(0, 8)\nreturn 0",
    header_in_pieces="os.write(1, frame()[:7])\nos.read(0, 8)\nreturn 0",
    illegal_reply="os.write(1, sequence + bytes([0, 99]))\nreturn simulate('x', 'y')",
    tick_before_it_asks="os.write(1, sequence + bytes([4]))\nreturn simulate('x', 'y')",
    unknown_flag="os.write(1, frame(flag=24))\nos.read(0, 8)\nreturn 0",
)
forged(
    "",  # at most its own move is what it says
    two_at_once="os.write(1, frame() + frame())\nos.read(0, 8)\nreturn 0",
    answer_with_the_question="os.write(1, frame() + sequence + bytes([0, 0]))\nos.read(0, 8)\nreturn 0",
    reply_as_answer="os.write(1, struct.pack('<Ii', 1, 2))\nreturn simulate('x', 'y')",
)
forged(
    "timeout killed",
    never_reads_the_reply="for _ in range(10**6): os.write(1, frame(first=seen['opponent_source'].encode()))",
    drips="for byte in frame(first=b'x' * 1000): os.write(1, bytes([byte]))\nwhile True: pass",
    flood_by_hand="while True:\n    os.write(1, frame())\n    os.read(0, 8)",
    waits_for_more="os.read(0, 8)\nreturn 0",
)
faulty(
    "simulate",
    "timeout",
    flood="while True: simulate(observation['my_source'], '')",
    flood_of_failures="while True: simulate('', '')",
    flood_that_catches="""
        while True:
            try:
                while True: simulate('', '')
            except BaseException:
                pass
    """,
    loop_between_calls="simulate('', '')\nwhile True: pass",
)
faulty(
    "simulate",
    "runtime_error syntax_error",
    huge_source="return simulate('#' * 10**7, '')",
    huge_opponent="return simulate('', '#' * 10**7)",
    lone_surrogate="return simulate('\\ud800', '')",
    bytes_for_text="return simulate(b'def policy(o): return 0', '')",
    no_arguments="return simulate()",
    own_text_with_surrogate="# \ud800\ndef policy(observation): return 0",
    raises_when_simulated="if observation['player'] == 1: raise SystemExit\nraise KeyboardInterrupt",
)
faulty("simulate", "killed", exits_after_asking="import os\nsimulate('', '')\nos._exit(0)")
legal(
    "simulate",
    mutual_recursion="return simulate(observation['opponent_source'], observation['my_source']) * 0",
    ungrounded_self="return simulate(observation['my_source'], observation['my_source']) * 0",
    two_each_time="""
        mine = observation['my_source']
        return simulate(mine, mine) * 0 + simulate(mine, mine) * 0
    """,
    growing_text="return simulate(observation['my_source'] + '#' * 4000, observation['opponent_source']) * 0",
    empty_texts="return simulate('', '') * 0",
    null_bytes="return simulate('\\0', '\\0' * 100) * 0",
    text_that_lies="""
        class Text(str):
            def encode(self, *args): return b'\\xff' * 10
            def __len__(self): return 10**9
        return simulate(Text('x'), Text('y')) * 0
    """,
)
_IN_A_SIMULATION = {
    "hangs": "while True: pass",
    "hangs_at_the_pipe": "import os; os.read(0, 1)",
    "exits": "import os; os._exit(3)",
    "eats_memory": "bytearray(1 << 30)",
    "prints": "print('x' * 10**6)",
    "plays_illegally": "return 99",
    "raises": "raise SystemExit",
    "answers_twice": "import os; os.write(1, b'\\x01\\0\\0\\0\\0\\2' * 2)",
}
for _name, _body in _IN_A_SIMULATION.items():
    _text = f"""
        if observation['player'] == 1:
            {_body}
        mine = observation['my_source']
        return 1 if simulate(mine, mine) == 1 else 0
    """
    legal("simulate", **{f"{_name}_in_a_simulation": _text})
_attacks = {
    "signals_parent": "import os\nos.kill(os.getppid(), 9)\nreturn True",
    "signals_everyone": "import os\nos.kill(-1, 9)\nreturn True",
    "signals_neighbours": "import os\nfor pid in range(os.getpid() - 200, os.getpid()): os.kill(pid, 9)\nreturn True",
    "reads_a_file": "return open('/etc/passwd').read()",
    "forks": "import os\nif os.fork() == 0: os._exit(0)\nreturn True",
    "finds_the_victims_secret": f"""
        import gc
        secret = {MARKER[:10]!r} + {MARKER[10:]!r}
        known = observation['opponent_source']
        return any(type(o) is str and secret in o and o != known for d in gc.get_objects() if type(d) is dict
                   for o in d.values())
    """,
    "answers_for_its_parent": "import os\nos.write(1, b'\\x01\\0\\0\\0\\0\\0' * 9)\nreturn False",
    "takes_its_parents_reply": "import os\nos.write(1, b'\\x02' * 8)\nos.read(0, 8)\nreturn False",
}
for _name, _body in _attacks.items():
    _lines = "\n".join(line.removeprefix("        ") for line in _body.splitlines()).strip()
    attempt(
        "simulate",
        **{_name: f"import sys\nobservation = sys._getframe(1).f_locals['observation']\n{_lines}"},
    )
