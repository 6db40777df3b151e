"""Settings: where a value comes from, what is refused, and that the reference page is complete."""

from pathlib import Path

import pytest

from batuta.cli.settings import config_report, env_example, masked, reference_page
from batuta.config import (
    UNUSED,
    Settings,
    check_binding,
    environment_names,
    list_settings,
    load_settings,
)
from batuta.model.error import InvalidError

ROOT = Path(__file__).parents[2]
REFERENCE = ROOT / "docs" / "reference" / "configuration.md"

# Named by the documents of the workflows that are moved here; none may be a surprise.
OF_THE_SOURCES = (
    *("PORT", "CONDUCTOR_URL", "CONDUCTOR_SERVER_URL", "WORKER_ID", "POLL_INTERVAL_MS"),
    *("WORKER_CONCURRENCY", "LOG_LEVEL", "METRICS_PORT", "CORS_ORIGIN", "NODE_ENV"),
    *("PGHOST", "PGPORT", "PGUSER", "PGPASSWORD", "PGDATABASE", "CHOKIDAR_USEPOLLING"),
    *("REDIS_HOST", "REDIS_PORT", "REDIS_PASSWORD", "API_HOST", "API_PORT"),
    *("KAFKA_BROKER", "KAFKA_CLIENT_ID", "KAFKA_GROUP_ID", "GITHUB_WEBHOOK_SECRET"),
    *("ARTIFACT_STORAGE_PATH", "K1_DEVICE_IP", "PLATFORMIO_PROJECT_PATH", "VITE_BACKEND_URL"),
    *("PLATFORMIO_UPLOAD_PORT", "CONDUCTOR_AUTH_KEY", "CONDUCTOR_AUTH_SECRET", "OPENAI_API_KEY"),
    *("FAL_KEY", "CONTENT_SERVICE_URL"),
)


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
        ({"BATUTA_STRICT": "on"}, "strict", True),
        ({"BATUTA_DB": "no"}, "db", "no"),
        ({"LOG_LEVEL": "warn"}, "log_level", "warning"),
        ({"CONDUCTOR_URL": "http://a:1/api"}, "server_url", "http://a:1/api"),
        ({"WORKER_ID": "w7"}, "worker_id", "w7"),
        ({"WORKER_CONCURRENCY": "5"}, "worker_concurrency", 5),
        ({"POLL_INTERVAL_MS": "250"}, "poll_interval_ms", 250),
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


def test_a_dot_env_file_of_another_program_is_no_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / ".env").write_text("set -a\nBATUTA_PORT=7\nTOKEN = x y\n", "utf-8")
    monkeypatch.chdir(tmp_path)

    loaded = load_settings({}, {})

    assert loaded.settings.port == 7
    assert loaded.warnings == ()


@pytest.mark.parametrize(
    ("line", "value"),
    [
        ("BATUTA_DB=a.db # where runs are", "a.db"),
        ("BATUTA_DB='a # b.db' # quoted", "a # b.db"),
        ('BATUTA_DB="a b.db"', "a b.db"),
        ("BATUTA_DB=a#b.db", "a#b.db"),
        ("export BATUTA_DB = a.db", "a.db"),
        ("BATUTA_DB=first.db\nBATUTA_DB=last.db", "last.db"),
    ],
)
def test_a_line_of_a_file_is_read_as_shells_and_compose_read_it(
    tmp_path: Path, line: str, value: str
) -> None:
    file = tmp_path / "settings.env"
    file.write_text(line + "\n", "utf-8")

    assert load_settings({}, {}, env_file=file).settings.db == value


@pytest.mark.parametrize(
    ("environment", "url"),
    [
        ({"PGHOST": "db"}, "postgresql://db/"),
        (
            {
                "PGHOST": "db",
                "PGPORT": "5433",
                "PGUSER": "me",
                "PGPASSWORD": "a@b/c",
                "PGDATABASE": "runs",
            },
            "postgresql://me:a%40b%2Fc@db:5433/runs",
        ),
        ({"PGHOST": "::1", "PGUSER": "me"}, "postgresql://me@[::1]/"),
        (
            {"PGHOST": "/var/run/postgresql", "PGDATABASE": "runs", "PGPORT": "5433"},
            "postgresql:///runs?host=/var/run/postgresql&port=5433",
        ),
    ],
)
def test_the_names_of_libpq_make_the_database(environment: dict[str, str], url: str) -> None:
    loaded = load_settings({}, environment)

    assert loaded.settings.db == url
    assert loaded.sources["db"] == "PGHOST"


def test_our_own_name_of_the_database_beats_those_of_libpq() -> None:
    loaded = load_settings({}, {"PGHOST": "db", "BATUTA_DB": "mine.db"})

    assert (loaded.settings.db, loaded.sources["db"]) == ("mine.db", "BATUTA_DB")
    assert load_settings({}, {"PGPASSWORD": "x", "PGUSER": "me"}).settings.db == Settings().db


def test_a_name_whose_feature_is_not_there_is_told_with_its_source_and_no_value_of_ours() -> None:
    loaded = load_settings({}, {"METRICS_PORT": "9090", "BATUTA_METRICS_PORT": "9091"})

    [given] = loaded.unused
    assert (given.value, given.source) == ("9091", "BATUTA_METRICS_PORT")
    assert "metrics" in given.unused.for_what
    assert (loaded.settings, loaded.warnings) == (Settings(), ())


def test_every_name_of_the_source_documents_is_accepted() -> None:
    read = {name for setting in list_settings() for name in environment_names(setting)}
    unused = {name for one in UNUSED for name in one.names}

    assert set(OF_THE_SOURCES) <= read | unused
    assert not read & unused, "a name either has an effect or has none"


def test_a_secret_is_masked_where_settings_are_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GITHUB_WEBHOOK_SECRET", "hush")

    rows, lines = config_report(None)

    [row] = [row for row in rows if row["name"] == "github_webhook_secret"]
    assert (row["value"], row["source"]) == ("***", "GITHUB_WEBHOOK_SECRET")
    assert "hush" not in "".join(lines)


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("postgresql://me:p@ss@db:5432/x", "postgresql://me:***@db:5432/x"),
        (
            "postgresql:///x?host=/run&password=hunter2&a=b",
            "postgresql:///x?host=/run&password=***&a=b",
        ),
        ("https://me:pw@host/api", "https://me:***@host/api"),
        ("./.batuta/batuta.db", "./.batuta/batuta.db"),
    ],
)
def test_a_password_in_a_url_is_masked(url: str, shown: str) -> None:
    assert masked(url) == shown


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

    assert sorted(setting.name for setting in settings) == sorted(Settings.__struct_fields__)
    assert all(setting.help and setting.allowed for setting in settings)
    names = [name for setting in settings for name in setting.environment]
    assert len(names) == len(set(names)), "two settings would read the same name"


def test_the_reference_page_is_the_one_written_from_the_settings() -> None:
    written = REFERENCE.read_text("utf-8")

    assert written == reference_page(), (
        "write it anew: .venv/bin/batuta config --reference > docs/reference/configuration.md"
    )


def test_the_example_of_an_env_file_is_the_one_written_from_the_settings() -> None:
    assert (ROOT / ".env.example").read_text("utf-8") == env_example(), (
        "write it anew: .venv/bin/batuta config --env-example > .env.example"
    )


def test_the_example_of_an_env_file_says_what_holds_without_it(tmp_path: Path) -> None:
    told = [line[1:] for line in env_example().splitlines() if line.startswith("#BATUTA_")]
    file = tmp_path / ".env"
    file.write_text("\n".join(told), "utf-8")

    loaded = load_settings({}, {}, env_file=file)

    assert loaded.settings == Settings()
    assert len(told) == len(list_settings())
    assert not loaded.warnings
