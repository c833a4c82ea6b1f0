"""Functions of the user's by name."""

import sys

import pytest
from pjepa_agent.config.fields import ConfigError
from pjepa_agent.config.imports import import_function


def test_a_function_is_found_in_the_current_folder_alone(tmp_path, monkeypatch):
    (tmp_path / "of_the_user.py").write_text(
        "class Made:\n    @staticmethod\n    def make(spec):\n        return spec\n"
    )
    monkeypatch.chdir(tmp_path)
    before = list(sys.path)
    assert import_function("of_the_user:Made.make", "encoder")(3) == 3
    assert sys.path == before
    monkeypatch.delitem(sys.modules, "of_the_user")


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("no_such_module:f", "encoder no_such_module:f: cannot be imported (ModuleNotFoundError"),
        ("math:no_such", "encoder math:no_such: cannot be imported (AttributeError"),
        ("math:pi", "encoder math:pi: is a float, must be a function"),
        ("math", "encoder 'math': must be module:function"),
        (":f", "must be module:function"),
        ("fails_on_import:f", "cannot be imported (RuntimeError: on two lines)"),
    ],
)
def test_what_cannot_be_imported_is_one_line(tmp_path, monkeypatch, name, said):
    (tmp_path / "fails_on_import.py").write_text("raise RuntimeError('on two\\nlines')\n")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError) as error:
        import_function(name, "encoder")
    assert said in str(error.value)
    assert "\n" not in str(error.value)
