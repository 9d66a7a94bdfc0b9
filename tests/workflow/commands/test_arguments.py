"""Values typed on a command line: what is read, and what an error says."""

import pytest

from qkld.workflow import cli
from qkld.workflow.commands.arguments import parameter, positive_number, whole_number


@pytest.mark.parametrize("text", ["0", "-1", "many", "1.5", ""])
def test_a_whole_number_is_at_least_one(text, capsys):
    with pytest.raises(SystemExit):
        cli.main(["run", "smoke", f"--cores={text}"])
    assert f"--cores: expected a whole number of at least 1, found {text!r}" in capsys.readouterr().err
    assert whole_number("12") == 12


@pytest.mark.parametrize("text", ["0", "-4", "fast", "nan", "inf"])
def test_a_speed_is_a_finite_number_above_zero(text, capsys):
    with pytest.raises(SystemExit):
        cli.main(["plan", "smoke", f"--tokens-per-second={text}"])
    assert f"--tokens-per-second: expected a number above 0, found {text!r}" in capsys.readouterr().err
    assert positive_number("1e-3") == 0.001


@pytest.mark.parametrize(
    ("text", "value"), [("cut=0.02", 0.02), ('formats=["pdf"]', ["pdf"]), ("name=prose", "prose"), ("flag=true", True)]
)
def test_a_parameter_is_read_as_json_or_text(text, value):
    assert parameter(text) == (text.partition("=")[0], value)


def test_a_parameter_has_a_name(capsys):
    with pytest.raises(SystemExit):
        cli.main(["notebook", "05_silent_zone", "-p", "zone_cut"])
    assert "expected name=value, found 'zone_cut'" in capsys.readouterr().err
