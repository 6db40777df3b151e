"""Settings: where a value comes from, what is refused, and that the reference page is complete."""

from pathlib import Path

import pytest

from batuta.cli.settings import reference_page
from batuta.config import Settings, check_binding, list_settings, load_settings
from batuta.model.error import InvalidError

REFERENCE = Path(__file__).parents[2] / "docs" / "reference" / "configuration.md"


def test_without_any_source_the_defaults_hold() -> None:
    loaded = load_settings({}, {})

    assert loaded.settings == Settings()
    assert set(loaded.sources.values()) == {"default"}
    assert loaded.warnings == ()


def test_a_flag_beats_the_environment_which_beats_the_file(tmp_path: Path) -> None:
    file = tmp_path / "settings.env"
    file.write_text("BATUTA_PORT=1\nBATUTA_HOST=localhost\nBATUTA_DB='a b.db'\n", "utf-8")
    environment = {"BATUTA_PORT": "2", "BATUTA_HOST": "127.0.0.2"}

    loaded = load_settings({"port": 3, "host": None}, environment, env_file=file)

    assert loaded.settings.port == 3
    assert loaded.settings.host == "127.0.0.2"
    assert loaded.settings.db == "a b.db"
    assert loaded.sources["port"] == "flag"
    assert loaded.sources["host"] == "BATUTA_HOST"
    assert loaded.sources["db"] == f"BATUTA_DB in {file}"


def test_a_second_name_counts_where_the_first_is_absent() -> None:
    assert load_settings({}, {"PORT": "9"}).settings.port == 9
    assert load_settings({}, {"PORT": "9", "BATUTA_PORT": "8"}).settings.port == 8


def test_a_dot_env_file_of_the_working_folder_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / ".env").write_text("# ours\n\nexport BATUTA_STRICT=yes\n", "utf-8")
    monkeypatch.chdir(tmp_path)

    assert load_settings({}, {}).settings.strict is True


@pytest.mark.parametrize(
    ("environment", "field", "value"),
    [
        ({"BATUTA_STRICT": "1"}, "strict", True),
        ({"BATUTA_STRICT": "FALSE"}, "strict", False),
        ({"LOG_LEVEL": "WARNING"}, "log_level", "warning"),
        (
            {"BATUTA_ALLOWED_HOSTS": "a.example, b.example,"},
            "allowed_hosts",
            ("a.example", "b.example"),
        ),
        ({"BATUTA_DRAIN_MS": " 0 "}, "drain_ms", 0),
    ],
)
def test_a_text_becomes_the_type_of_its_setting(
    environment: dict[str, str], field: str, value: object
) -> None:
    assert getattr(load_settings({}, environment).settings, field) == value


@pytest.mark.parametrize(
    ("environment", "words"),
    [
        ({"BATUTA_PORT": "http"}, ["'port'", "BATUTA_PORT", "'http'", "from 0 to 65,535"]),
        ({"PORT": "65536"}, ["'port'", "from PORT", "'65536'"]),
        ({"BATUTA_LOG_LEVEL": "loud"}, ["'log_level'", "'loud'", "debug, info, warning, error"]),
        ({"BATUTA_STRICT": "perhaps"}, ["'strict'", "'perhaps'", "true or false"]),
        ({"BATUTA_DB": ""}, ["'db'", "not empty"]),
        ({"BATUTA_CACHE_BYTES_MAX": "5"}, ["'cache_bytes_max'", "from 1,000,000"]),
    ],
)
def test_a_wrong_value_names_the_setting_the_value_and_what_is_allowed(
    environment: dict[str, str], words: list[str]
) -> None:
    with pytest.raises(InvalidError) as caught:
        load_settings({}, environment)

    assert all(word in caught.value.message for word in words), caught.value.message


def test_an_unknown_name_is_warned_about_with_the_nearest_known_one() -> None:
    loaded = load_settings({}, {"BATUTA_PROT": "1", "BATUTA_KILLS": "20", "OTHER": "x"})

    assert len(loaded.warnings) == 1
    assert "'BATUTA_PROT'" in loaded.warnings[0]
    assert "BATUTA_PORT" in loaded.warnings[0]


def test_a_settings_file_that_was_named_has_to_exist(tmp_path: Path) -> None:
    with pytest.raises(InvalidError, match="no file"):
        load_settings({}, {}, env_file=tmp_path / "absent.env")


def test_a_line_that_is_no_setting_is_named_with_its_number(tmp_path: Path) -> None:
    file = tmp_path / "settings.env"
    file.write_text("BATUTA_PORT=1\nnonsense\n", "utf-8")

    with pytest.raises(InvalidError, match="line 2 is 'nonsense'"):
        load_settings({}, {}, env_file=file)


@pytest.mark.parametrize("host", ["127.0.0.1", "127.9.9.9", "::1", "[::1]", "localhost"])
def test_listening_for_this_machine_needs_no_permission(host: str) -> None:
    check_binding(Settings(host=host))


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.4", "batuta.example"])
def test_listening_for_other_machines_has_to_be_asked_for(host: str) -> None:
    with pytest.raises(InvalidError, match="--allow-remote"):
        check_binding(Settings(host=host))

    check_binding(Settings(host=host, allow_remote=True))


def test_every_setting_says_what_it_is_and_what_is_allowed() -> None:
    settings = list_settings()

    assert [setting.name for setting in settings] == list(Settings.__struct_fields__)
    assert all(setting.help and setting.allowed for setting in settings)
    names = [name for setting in settings for name in setting.environment]
    assert len(names) == len(set(names)), "two settings would read the same name"


def test_the_reference_page_is_the_one_written_from_the_settings() -> None:
    written = REFERENCE.read_text("utf-8")

    assert written == reference_page(), (
        "write it anew: .venv/bin/batuta config --reference > docs/reference/configuration.md"
    )
