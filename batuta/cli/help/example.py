"""Examples of every command, shown at the end of its help; tests see that none is wrong."""

import click

_EXAMPLES = """\
# batuta
serve --load definitions/ --workers my_workers.py
run greeting -i name=ada --watch
status
why 019b2c3e-7f10-7a3b-8c4d-123456789abc

# serve
serve
serve --port 9000 --db /var/lib/batuta/runs.db
serve --load definitions/ --workers my_workers.py

# worker
worker my_workers.py
worker my_package.workers --server http://batuta.example:8080 --worker-concurrency 4

# run
run greeting.json -i name=ada --watch
run greeting --input @input.json --input name=bob --watch --timeout 60

# migrate
migrate --db postgresql://me:password@db.example/batuta

# config
config
config --env-example > .env

# demo
demo
demo --port 9000 --once

# workflow
workflow list --status FAILED
workflow get 019b2c3e-7f10-7a3b-8c4d-123456789abc
workflow retry 019b2c3e-7f10-7a3b-8c4d-123456789abc

# workflow list
workflow list --name 'order_*' --status FAILED --status TIMED_OUT
workflow list --limit 100 --sort endTime:ASC -o json

# workflow search
workflow search "status=FAILED AND startTime>=2026-01-31"
workflow search --free-text 'connection refused' --limit 5

# workflow get
workflow get 019b2c3e-7f10-7a3b-8c4d-123456789abc
workflow get 019b2c3e-7f10-7a3b-8c4d-123456789abc --no-tasks -o json

# workflow watch
workflow watch 019b2c3e-7f10-7a3b-8c4d-123456789abc --timeout 60

# workflow start
workflow start greeting -i name=ada
workflow start greeting --version 2 --input @input.json --correlation-id order-17

# workflow pause
workflow pause 019b2c3e-7f10-7a3b-8c4d-123456789abc

# workflow resume
workflow resume 019b2c3e-7f10-7a3b-8c4d-123456789abc

# workflow terminate
workflow terminate 019b2c3e-7f10-7a3b-8c4d-123456789abc --reason 'ordered twice' --yes

# workflow retry
workflow retry 019b2c3e-7f10-7a3b-8c4d-123456789abc
workflow retry 019b2c3e-7f10-7a3b-8c4d-123456789abc --resume-subworkflow-tasks

# workflow restart
workflow restart 019b2c3e-7f10-7a3b-8c4d-123456789abc --use-latest

# workflow rerun
workflow rerun 019b2c3e-7f10-7a3b-8c4d-123456789abc --from-task pay --task-input amount=12

# workflow skip-task
workflow skip-task 019b2c3e-7f10-7a3b-8c4d-123456789abc notify --task-output sent=false

# workflow delete
workflow delete 019b2c3e-7f10-7a3b-8c4d-123456789abc --yes

# task
task get 019b2c3e-7f11-7c21-9a55-123456789abc
task logs 019b2c3e-7f11-7c21-9a55-123456789abc

# task get
task get 019b2c3e-7f11-7c21-9a55-123456789abc

# task logs
task logs 019b2c3e-7f11-7c21-9a55-123456789abc

# task update
task update 019b2c3e-7f11-7c21-9a55-123456789abc --status COMPLETED -d approved=true
task update 019b2c3e-7f11-7c21-9a55-123456789abc --status FAILED --reason 'no such order'

# queue
queue list

# queue list
queue list
queue list -o json

# def
def lint definitions/
def apply definitions/
def list

# def apply
def apply definitions/
def apply order.json tasks.json --dry-run

# def list
def list

# def get
def get greeting --version 2
def get compose --task

# def lint
def lint definitions/
def lint order.json --ignore SWITCH_WITHOUT_DEFAULT
def lint order.json --server http://127.0.0.1:8080
def lint greeting
cat order.json | batuta def lint -

# def export
def export backup/

# def delete
def delete greeting --version 1 --yes
def delete compose --task

# why
why 019b2c3e-7f10-7a3b-8c4d-123456789abc

# status
status
status -o json

# logs
logs
logs 019b2c3e-7f10-7a3b-8c4d-123456789abc --follow

# doctor
doctor
doctor --db /var/lib/batuta/runs.db -o json
doctor --retry
doctor --firmware

# verify
verify firmware

# verify firmware
verify firmware
verify firmware --only 5 --only 7.1
verify firmware --report verification.md

# reset
reset
reset --db /var/lib/batuta/runs.db --yes

# token
token --user ada
token --user ada --expires 12h --db /var/lib/batuta/runs.db

# dialects
dialects
dialects steps

# completion
eval "$(batuta completion bash)"
completion fish > ~/.config/fish/completions/batuta.fish
"""


def examples() -> dict[str, list[str]]:
    """Return the examples, whole command lines, by command: `workflow get`; `` is batuta's own."""
    found: dict[str, list[str]] = {}
    lines: list[str] = []
    for line in _EXAMPLES.splitlines():
        if line.startswith("# "):
            name = line.removeprefix("# ")
            lines = found["" if name == "batuta" else name] = []
        elif line:
            lines.append(line if "batuta " in line else f"batuta {line}")
    return found


def add_examples(root: click.Group) -> None:
    """Show each command's examples at the end of its help."""
    for name, lines in examples().items():
        command: click.Command = root
        for word in name.split():
            assert isinstance(command, click.Group), f"{name}: what has commands is a group"
            command = command.commands[word]
        # \b keeps click from filling the lines
        command.epilog = "\n".join(("\b", "Examples:", *(f"  {line}" for line in lines)))
