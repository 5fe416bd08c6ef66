"""What the test of this example runs: python3.11 check.py LIBRARY FOLDER. The modules must be those for macOS."""

import sys
import threading

import darwin_import

darwin_import.install(sys.argv[1], sys.argv[2])


def raises(kind, function, *arguments, **named):
    """The exception that a call raises."""
    try:
        function(*arguments, **named)
    except kind as error:
        return error
    raise AssertionError(f"{function} did not raise {kind}")


def markupsafe():
    import markupsafe
    import markupsafe._speedups as native

    assert native.__file__.endswith("-darwin.so"), native.__file__
    assert markupsafe._escape_inner is native._escape_inner
    assert markupsafe.escape("<a href=\"x\">'&'</a>") == "&lt;a href=&#34;x&#34;&gt;&#39;&amp;&#39;&lt;/a&gt;"
    assert markupsafe.escape("ü<\U0001f600>") == "ü&lt;\U0001f600&gt;"
    assert markupsafe.Markup("<b>%s</b>") % "<x>" == "<b>&lt;x&gt;</b>"
    # From the module to Python, and from Python through the module.
    raises(TypeError, native._escape_inner)

    class Broken:
        def __html__(self):
            raise KeyError("mine")

    assert raises(KeyError, markupsafe.escape, Broken()).args == ("mine",)


def orjson():
    import orjson

    assert orjson.orjson.__file__.endswith("-darwin.so")
    data = {"a": [1, 2.5, None, True], "b": {"ü": "\U0001f600"}, "c": "x" * 100000, "d": list(range(1000))}
    assert orjson.loads(orjson.dumps(data)) == data
    assert orjson.dumps({"b": 1, "a": 2}, option=orjson.OPT_SORT_KEYS | orjson.OPT_INDENT_2) == b'{\n  "a": 2,\n  "b": 1\n}'
    error = raises(orjson.JSONDecodeError, orjson.loads, b'{"a": 1,\n "b" 2}')
    assert (error.lineno, isinstance(error, ValueError)) == (2, True)
    raises(TypeError, orjson.dumps, object())

    def default(value):
        raise KeyError("mine")

    error = raises(TypeError, orjson.dumps, object(), default=default)
    assert isinstance(error.__cause__, KeyError)
    assert orjson.dumps({1, 2}, default=sorted) == b"[1,2]"


def regex():
    import regex
    from regex import _regex

    assert _regex.__file__.endswith("-darwin.so")
    assert regex.findall(r"\p{Lu}\p{Ll}+", "Ada, Łódź und Émile") == ["Ada", "Łódź", "Émile"]
    assert regex.match(r"(?:(\w+) ?)+", "one two three").captures(1) == ["one", "two", "three"]
    assert regex.search(r"(?e)(?:hello){e<=2}", "say hxllo").group() == "hxllo"
    assert regex.sub(r"(\d+)", lambda match: str(int(match[1]) * 2), "7 21") == "14 42"
    assert regex.fullmatch(r"\X{3}", "e\u0301ab")
    raises(regex.error, regex.compile, r"(unclosed")

    def broken(match):
        raise KeyError("mine")

    assert raises(KeyError, regex.sub, r"\d", broken, "a1").args == ("mine",)
    raises(TimeoutError, regex.match, r"(?:a+)+$(?:b)?", "a" * 5000 + "c", timeout=0.01)


def kiwisolver():
    import kiwisolver as kiwi

    assert kiwi._cext.__file__.endswith("-darwin.so")
    left, width, right = (kiwi.Variable(name) for name in ("left", "width", "right"))
    solver = kiwi.Solver()
    for constraint in (left >= 10, right == left + width, (width == 30) | "strong"):
        solver.addConstraint(constraint)
    solver.addEditVariable(right, "medium")
    solver.suggestValue(right, 42)
    solver.updateVariables()
    assert (left.value(), width.value(), right.value()) == (12.0, 30.0, 42.0)
    # C++ throws, and Python sees it.
    for _ in range(3):
        raises(kiwi.UnsatisfiableConstraint, solver.addConstraint, left <= 5)
    raises(kiwi.UnknownConstraint, solver.removeConstraint, left >= 1)
    raises(kiwi.DuplicateEditVariable, solver.addEditVariable, right, "weak")
    raises(kiwi.BadRequiredStrength, solver.addEditVariable, left, "required")
    raises(TypeError, lambda: left + "one")
    thrown = []

    def in_a_thread():
        other = kiwi.Solver()
        other.addConstraint(left >= 10)
        thrown.append(raises(kiwi.UnsatisfiableConstraint, other.addConstraint, left <= 5))

    threads = [threading.Thread(target=in_a_thread) for _ in range(4)]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
    assert len(thrown) == 4


for check in (markupsafe, orjson, regex, kiwisolver):
    check()
    print(check.__name__, "ok", flush=True)
