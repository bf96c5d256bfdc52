"""The tables, plans and descriptions that ``tshell`` draws for people."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from services.client.spans import span
from shared.contracts import DEFAULT_PROJECT, retry_budgets
from shared.quantity import counted
from shared.terminal import table_width
from shared.visible import visible_value

_MIB = 2**20
_ADVISED = 3
_COLOURS = {
    "running": "cyan",
    "succeeded": "green",
    "ended": "green",
    "failed": "red",
    "refused": "red",
    "lost": "red",
    "retrying": "yellow",
    "replacing": "yellow",
    "pending": "yellow",
    "exited": "magenta",
    "cancelled": "magenta",
}


def _console(width: int | None = None) -> Console:
    """Names and sentences come from programs and machines: nothing in them is markup."""
    return Console(width=width, markup=False, emoji=False, highlight=False)


def jobs(found: list[dict[str, Any]], *, anew: bool = False) -> None:
    """The list of jobs; ``anew`` replaces the previous output."""
    console = _console(table_width())
    if anew and console.is_terminal:
        console.clear()
    if not found:
        console.print("no job matches; `tshell ls` without options shows the newest")
        return
    found = visible_value(found)
    table = Table()
    table.add_column("job", no_wrap=True, overflow="fold")  # an id is for copying
    projects = any(job["project"] != DEFAULT_PROJECT for job in found)
    for heading in ("name", *(["project"] if projects else []), "state"):
        table.add_column(heading)
    table.add_column("changed (UTC)", no_wrap=True)
    table.add_column("why")
    for job in found:
        changed = _time(job["updated_at"]).astimezone(UTC).strftime("%m-%d %H:%M:%S")
        why = f"{job['reason']}. {job['pending']['advice']}" if job["pending"] else job["reason"]
        whose = [job["project"] or "?"] if projects else []
        table.add_row(job["job_id"], job["name"], *whose, _state(job["state"]), changed, Text(why))
    console.print(table)


def description(described: dict[str, Any]) -> None:
    """A job: state, what keeps it, members, timeline."""
    described = visible_value(described)
    job = described["job"]
    head = Text.assemble((job["name"], "bold"), "  ", job["job_id"], "  ", _state(job["state"]))
    parts: list[RenderableType] = [head, Text(job["reason"])]
    if job["pending"]:
        parts.append(_pending(job["pending"], job["reason"], described["now"]))
    if described["progress"] and not job["ended"]:
        parts.append(Text(_progress(described["progress"], described["now"])))
    parts += [Text(line) for line in _facts(job)]
    parts += [Text(f"{f['field']}: {f['problem']}", "red") for f in job["faults"]]
    parts.append(_members(described))
    advised = [m for m in described["members"] if m["memory_advice"]]
    parts += [Text(f"{_name(m)}: {m['memory_advice']}", "yellow") for m in advised[:_ADVISED]]
    tails = [m for m in described["members"] if m["stands"] == "failed" and m["last_lines"]]
    for member in tails[:3]:
        text = Text("\n".join(member["last_lines"][-10:]))
        title = f"last lines of {_name(member)}"
        parts.append(Panel(text, title=title, title_align="left", border_style="red"))
    parts.append(_timeline(described))
    _console().print(Group(*parts))


def plan(answer: dict[str, Any], manifests: bool) -> None:
    """The plan of a job, for people."""
    answer = visible_value(answer)
    console = _console()
    table = Table("role", "members", "cores", "memory", "GPUs")
    for role in answer["roles"]:
        each, number = role["resources"], role["members"]
        gpus = f"{each['gpu']} {each['gpu_resource']}" if each["gpu"] else "-"
        table.add_row(role["role"], str(number), f"{each['cpu']:g}", each["memory"], gpus)
    total = f"cores {answer['cpu']:g}, memory {_bytes(answer['memory_bytes'])}"
    console.print(table)
    console.print(Text(f"in all: {total}, GPUs {answer['gpu']}; runtime {answer['runtime']}"))
    for fault in answer["faults"]:
        console.print(Text(f"refused: {fault['field']}: {fault['problem']}", "red"))
    for note in answer["notes"]:
        console.print(Text(f"note: {note}", "yellow"))
    console.print(Text(_fits(answer)))
    objects = ", ".join(f"{m.get('kind')}/{_object_name(m)}" for m in answer["manifests"])
    if objects:
        checked = "checked by the API server" if answer["checked"] else "not checked by a server"
        console.print(Text(f"objects ({checked}): {objects}"))
    if manifests:
        import yaml

        print(yaml.safe_dump_all(answer["manifests"], sort_keys=False), end="")


def jobs_usage(used: list[dict[str, Any]]) -> None:
    """The use of every job that has not ended, for people."""
    used = visible_value(used)
    table = Table()
    table.add_column("job", no_wrap=True, overflow="fold")
    for heading in ("name", "state", "members", "cores", "memory", "GPUs"):
        table.add_column(heading, overflow="fold")
    for job in used:
        measured = job["measured"] or None
        table.add_row(
            job["job_id"],
            job["name"],
            _state(job["state"]),
            f"{job['running']} running",
            _of(measured and job["cpu_used"], job["cpu_asked"], _cores),
            _of(measured and job["memory_used"], job["memory_asked"], _bytes),
            str(job["gpu_asked"] or "-"),
        )
    _console(table_width()).print(table)


def members_usage(used: dict[str, Any]) -> None:
    """The use of a job's members, for people."""
    used = visible_value(used)
    table = _of_members("stands", "node", "cores", "memory", "most memory", "GPUs")
    for member in used["members"]:
        asked = member["asked"]
        table.add_row(
            _name(member),
            _state(member["stands"]),
            member["node"] or "-",
            _of(member["cpu_cores"], asked["cpu"], _cores),
            _of(member["memory_bytes"], asked["memory"], _bytes),
            _peak(member),
            str(asked["gpu"] or "-"),
        )
    _console(table_width()).print(table)


def _facts(job: dict[str, Any]) -> list[str]:
    facts = [f"{each['field']}: {each['problem']}" for each in job.get("not_notified", ())]
    facts += job["notes"]
    if job["submit"]:
        used = [
            f"{job['retries'].get(why, 0)} of {most} for {why}"
            for why, most in retry_budgets(job["submit"]["max_retries"]).items()
        ]
        if job["project"] != DEFAULT_PROJECT:
            facts.append(f"project {job['project']}")
        facts.append(f"attempt {max(job['attempt'], 1)}; replaced: {', '.join(used)}")
    if job["epoch"]:
        facts.append(f"ClusterSpec epoch {job['epoch']}")
    if job["failure_class"] and job["state"] == "failed":
        whose = f" of {job['member']}" if job["member"] else ""
        facts.append(f"failure class {job['failure_class']}{whose}")
    if files := max(len(job["artifacts"]), job["stored"]["files"]):
        facts.append(f"{counted(files, 'file')} stored")
    if until := job.get("kept_until"):
        facts.append(f"logs and results are kept until {_time(until):%Y-%m-%d %H:%M} UTC")
    if left_out := job["stored"]["left_out"]:
        what = "file or link" if left_out == 1 else "files or links"
        facts.append(f"{left_out} {what} not stored: {'; '.join(job['stored']['reasons'])}")
    return facts


def _pending(pending: dict[str, Any], reason: str, now: str) -> Panel:
    since = span((_time(now) - _time(pending["since"])).total_seconds())
    whom = f"\nconcerns {', '.join(pending['members'][:8])}" if pending["members"] else ""
    text = Text.assemble(reason, "\n", (pending["advice"], "bold"), whom)
    title = f"pending for {since}: {pending['cause']}"
    return Panel(text, title=title, title_align="left", border_style="yellow")


def _members(described: dict[str, Any]) -> Table:
    reached = any(member["address"] for member in described["members"])
    table = _of_members(
        "stands",
        *(["address"] if reached else []),
        "pod, node",
        "how it ended",
        "cores",
        "memory",
        "at most",
    )
    for member in described["members"]:
        asked = member["asked"]
        where = " on ".join(word for word in (member["pod"], member["node"]) if word)
        table.add_row(
            _name(member),
            _state(member["stands"]),
            *([member["address"] or "-"] if reached else []),
            where or "-",
            Text(member["how"]),
            _of(member["cpu_cores"], asked["cpu"], _cores),
            _of(member["memory_bytes"], asked["memory"], _bytes),
            _peak(member),
        )
    more = described["members_total"] - len(described["members"])
    if more:
        table.caption = f"and {more} more members"
    return table


def _of_members(*headings: str) -> Table:
    """A table whose first column names a member, which is never cut."""
    table = Table()
    table.add_column("member", no_wrap=True)
    for heading in headings:
        table.add_column(heading, overflow="fold")
    return table


def _timeline(described: dict[str, Any]) -> Table:
    table = Table("time (UTC)", "after", "what", "whom", "", box=None, padding=(0, 2, 0, 0))
    first = _time(described["timeline"][0]["at"]) if described["timeline"] else None
    for line in described["timeline"]:
        at = _time(line["at"])
        after = span((at - (first or at)).total_seconds())
        table.add_row(
            at.strftime("%H:%M:%S"),
            f"+{after}",
            _state(line["kind"]),
            line["whom"],
            Text(line["text"]),
        )
    return table


def _name(member: dict[str, Any]) -> str:
    again = f"/{member['incarnation']}" if member["incarnation"] > 1 else ""
    return f"{member['role']}-{member['index']}{again}"


def _progress(progress: dict[str, Any], now: str) -> str:
    text = f"{progress['percent']:g} % done ({progress['done']:g} of {progress['total']:g})"
    if progress["remaining_s"] is not None:
        since = (_time(now) - _time(progress["at"])).total_seconds()
        text += f", about {span(max(0.0, progress['remaining_s'] - since))} left"
    return f"{text}: {progress['text']}" if progress["text"] else text


def _peak(member: dict[str, Any]) -> str:
    """The most memory that was ever measured of it."""
    peak = member["memory_peak_bytes"]
    return "-" if peak is None else _bytes(peak)


def _state(state: str) -> Text:
    return Text(state, _COLOURS.get(state, ""))


def _of(used: float | None, asked: Any, said: Any) -> str:
    limit = asked if isinstance(asked, str) else said(asked)
    return f"{'-' if used is None else said(used)} of {limit}"


def _cores(number: float) -> str:
    return f"{number:.2f}".rstrip("0").rstrip(".")


def _bytes(number: float) -> str:
    if number >= 10 * 1024 * _MIB:
        return f"{number / 1024 / _MIB:.1f}Gi"
    return f"{number / _MIB:.0f}Mi"


def _time(text: str) -> datetime:
    return datetime.fromisoformat(text)


def _fits(answer: dict[str, Any]) -> str:
    if answer["faults"]:
        return "a submit would be refused; nothing was created"
    if answer["fits_now"] is None:
        return "whether it fits now is unknown; nothing was created"
    if answer["fits_now"]:
        return "it could start now; nothing was created"
    return f"it would wait: {answer['waiting_reason']}; nothing was created"


def _object_name(manifest: dict[str, Any]) -> str:
    metadata = manifest.get("metadata")
    return str(metadata.get("name", "")) if isinstance(metadata, dict) else json.dumps(metadata)
