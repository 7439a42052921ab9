"""What generated code takes is looked for before anything is trained."""

import pytest
from torch._inductor import cpp_builder

from crediting.errors import ConfigError
from crediting.training import compiling


def test_no_compiler_is_told_beforehand(no_compiler):
    with pytest.raises(ConfigError, match=r"^runtime\.compile: expected a C\+\+ compiler"):
        compiling.compiler("default")
    assert compiling.compiler(None) is compiling.as_it_is


def test_no_headers_of_python_are_told_beforehand(monkeypatch, tmp_path):
    monkeypatch.setattr(cpp_builder, "get_cpp_compiler", lambda: "g++")
    monkeypatch.setattr(compiling, "_HEADER", tmp_path / "Python.h")
    with pytest.raises(ConfigError, match=r"the headers of Python \(.*Python\.h\), there is none"):
        compiling.compiler("max-autotune")
    (tmp_path / "Python.h").touch()
    assert compiling.compiler("max-autotune") is not compiling.as_it_is
