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


def numpy():
    import numpy
    from numpy.linalg import _umath_linalg

    assert numpy.core._multiarray_umath.__file__.endswith("-darwin.so")
    assert _umath_linalg.__file__.endswith("-darwin.so")
    table = numpy.arange(12.0).reshape(3, 4)
    assert (table @ table.T).tolist() == [[14, 38, 62], [38, 126, 214], [62, 214, 366]]
    # Large enough for threads of OpenBLAS.
    random = numpy.random.default_rng(1).standard_normal((300, 300))
    assert abs(numpy.linalg.inv(random) @ random - numpy.eye(300)).max() < 1e-9
    assert raises(numpy.linalg.LinAlgError, numpy.linalg.inv, numpy.zeros((2, 2)))
    assert numpy.fft.ifft(numpy.fft.fft([1, 2, 3, 4])).real.round(12).tolist() == [1, 2, 3, 4]
    # The floating-point environment: what was raised is seen, and nothing else.
    with numpy.errstate(all="raise"):
        raises(FloatingPointError, lambda: numpy.ones(3) / numpy.zeros(3))
        assert (numpy.ones(3) / 3).sum() == 1
    raises(ValueError, lambda: table @ table)


def cryptography():
    from cryptography.exceptions import InvalidSignature
    from cryptography.fernet import Fernet
    from cryptography.hazmat.bindings import _rust
    from cryptography.hazmat.primitives import hashes, hmac
    from cryptography.hazmat.primitives.asymmetric import ed25519

    assert "cryptography/hazmat/bindings" in _rust.__file__ and type(_rust.__loader__).__name__ == "DarwinLoader"
    digest = hashes.Hash(hashes.SHA256())
    digest.update(b"abc")
    assert digest.finalize().hex() == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    code = hmac.HMAC(b"key", hashes.SHA256())
    code.update(b"The quick brown fox jumps over the lazy dog")
    code.copy().verify(bytes.fromhex("f7bc83f430538424b13298e6aa6fb143ef4d59a14946175997479dbc2d1a3cd8"))
    raises(InvalidSignature, code.verify, bytes(32))
    box = Fernet(Fernet.generate_key())
    assert box.decrypt(box.encrypt(b"message")) == b"message"
    key = ed25519.Ed25519PrivateKey.generate()
    signature = key.sign(b"message")
    key.public_key().verify(signature, b"message")
    raises(InvalidSignature, key.public_key().verify, signature, b"another")


for check in (markupsafe, orjson, regex, kiwisolver, numpy, cryptography):
    check()
    print(check.__name__, "ok", flush=True)
