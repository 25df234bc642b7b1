"""Detection of processes that end with a login session, on a simulated file system."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine.control.systemd import logout_risk

SESSION = "0::/user.slice/user-1000.slice/session-3.scope\n"
USER_MANAGER = "0::/user.slice/user-1000.slice/user@1000.service/app.slice/depthscope.service\n"
OLD_HIERARCHY = "12:cpu,cpuacct:/\n1:name=systemd:/user.slice/user-1000.slice/session-3.scope\n"


def machine(root: Path, group: str, *, lingers: bool = False, **files: str) -> Path:
    """Create a systemd machine with process 7 in a control group; files by path, with `__` for `/`."""
    (root / "run/systemd/system").mkdir(parents=True)
    written = {"proc/7/cgroup": group, **{f"{name.replace('__', '/')}": text for name, text in files.items()}}
    if lingers:
        written["var/lib/systemd/linger/ann"] = ""
    for name, text in written.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


def text_of(root: Path) -> str:
    risk = logout_risk(7, root=root, user="ann")
    return "" if risk is None else f"{risk.text}: {risk.remedy}"


@pytest.mark.parametrize("group", [SESSION, OLD_HIERARCHY])
def test_a_session_that_will_be_killed_is_reported_with_the_remedy(group: str, tmp_path: Path):
    """KillUserProcesses=yes from any file; the unit under a lingering manager survives."""
    main = {"etc__systemd__logind.conf": "[Login]\n#KillExcludeUsers=root\nKillUserProcesses=yes\n"}

    said = text_of(machine(tmp_path, group, **main))

    assert "KillUserProcesses in" in said
    assert "`depthscope engine install-service` and `loginctl enable-linger`" in said


def test_a_session_that_is_left_alone_is_no_risk(tmp_path: Path):
    """As most distributions ship it, with the default in a comment."""
    shipped = {"etc__systemd__logind.conf": "[Login]\n#KillUserProcesses=no\n"}

    assert text_of(machine(tmp_path, SESSION, **shipped)) == ""


def test_what_systemd_was_built_with_holds_where_nothing_is_assigned(tmp_path: Path):
    """The shipped file has the built-in default in a comment, here to kill."""
    assert "KillUserProcesses" in text_of(
        machine(
            tmp_path,
            SESSION,
            usr__lib__systemd__logind_conf="",
            **{"usr__lib__systemd__logind.conf": "[Login]\n#KillUserProcesses=yes\n"},
        )
    )


def test_a_drop_in_overrides_and_one_of_the_same_name_in_etc_masks_it(tmp_path: Path):
    """Drop-ins apply in the order of their names across directories."""
    files = {
        "etc__systemd__logind.conf": "[Login]\nKillUserProcesses=no\n",
        "usr__lib__systemd__logind.conf.d__10-kill.conf": "[Login]\nKillUserProcesses=yes\n",
    }
    assert "10-kill.conf" in text_of(machine(tmp_path / "one", SESSION, **files))

    masked = {**files, "etc__systemd__logind.conf.d__10-kill.conf": ""}
    assert text_of(machine(tmp_path / "two", SESSION, **masked)) == ""


@pytest.mark.parametrize(
    ("line", "is_spared"),
    [("KillExcludeUsers=root ann", True), ("KillOnlyUsers=bob", True), ("KillOnlyUsers=ann bob", False)],
)
def test_users_can_be_spared(line: str, is_spared: bool, tmp_path: Path):
    """Both lists of logind.conf(5)."""
    main = {"etc__systemd__logind.conf": f"[Login]\nKillUserProcesses=yes\n{line}\n"}

    assert (text_of(machine(tmp_path, SESSION, **main)) == "") is is_spared


def test_under_the_user_manager_it_takes_lingering(tmp_path: Path):
    """Without lingering it ends with the user's last session, regardless of KillUserProcesses."""
    said = text_of(machine(tmp_path / "one", USER_MANAGER))
    assert "lingering is off for" in said
    assert said.endswith("`loginctl enable-linger`")

    assert text_of(machine(tmp_path / "two", USER_MANAGER, lingers=True)) == ""


def test_no_warning_without_systemd_or_in_a_system_service(tmp_path: Path):
    """Containers, other init systems, and processes not started from a login."""
    assert logout_risk(7, root=tmp_path, user="ann") is None
    killing = {"etc__systemd__logind.conf": "[Login]\nKillUserProcesses=yes\n"}
    assert text_of(machine(tmp_path, "0::/system.slice/docker-1.scope\n", **killing)) == ""
