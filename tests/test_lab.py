"""A real JupyterLab in a real browser: from the start page to the tour, which runs.

Two traps, both silent: "Run All Cells" before the kernel is connected runs nothing, and
with windowing on, cells off the screen are not in the page.
"""

import json
import os
import secrets
import shutil
import socket
import subprocess
import sys
import time
import urllib.request

import pytest

from deepseek_learn.course.authoring.links import repository
from tests.services import need

# The only external resource, once the course has a public address: a badge at the top of
# the lesson, for readers on GitHub.
BADGE = "https://colab.research.google.com/assets/colab-badge.svg"
TOUR = "notebooks/basic/00_tour.ipynb"
EXERCISES = "exercises/basic/00_tour.ipynb"
SETTINGS = {
    "apputils-extension/notification": {"fetchNews": "false", "checkForUpdates": False},
    "notebook-extension/tracker": {"windowingMode": "none"},
}
OPEN = ".jp-NotebookPanel:not(.lm-mod-hidden)"  # the notebook in front
CURRENT = "window.jupyterapp?.shell?.currentWidget"
KERNEL = f"{CURRENT}?.sessionContext?.session?.kernel"
IDLE = f"() => {KERNEL}?.connectionStatus === 'connected' && {KERNEL}.status === 'idle'"
# Every code cell has been run: its prompt holds a number, not a star.
ALL_RUN = f"""() => [...document.querySelectorAll('{OPEN} .jp-CodeCell .jp-InputPrompt')]
    .every(prompt => /^\\[\\d+\\]:$/.test(prompt.innerText.trim()))"""
PIXELS = """img => {
  if (!img.complete || !img.naturalWidth) return null;
  const canvas = document.createElement('canvas');
  [canvas.width, canvas.height] = [img.naturalWidth, img.naturalHeight];
  canvas.getContext('2d').drawImage(img, 0, 0);
  return canvas.toDataURL(); }"""
ERRORS = "[data-mime-type='application/vnd.jupyter.error']"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def lab_environment(home) -> dict[str, str]:
    """JupyterLab's folders below `home`, so that no user settings interfere."""
    for plugin, values in SETTINGS.items():
        file = home / "settings" / "@jupyterlab" / f"{plugin}.jupyterlab-settings"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(values))
    config = home / "config" / "jupyter_server_config.json"
    config.parent.mkdir()
    lab = {"expose_app_in_browser": True, "extension_manager": "readonly"}
    config.write_text(json.dumps({"LabApp": lab}))
    return {
        **os.environ,
        "JUPYTER_CONFIG_DIR": str(home / "config"),
        "JUPYTER_DATA_DIR": str(home / "data"),
        "JUPYTER_RUNTIME_DIR": str(home / "runtime"),
        "JUPYTERLAB_SETTINGS_DIR": str(home / "settings"),
        "JUPYTERLAB_WORKSPACES_DIR": str(home / "workspaces"),
        "XDG_DATA_HOME": str(home / "user"),
    }


def wait_until_up(server, url, log) -> None:
    end = time.monotonic() + 120
    while time.monotonic() < end:
        assert server.poll() is None, log.read_text()
        try:
            urllib.request.urlopen(url, timeout=2).close()
            return
        except OSError:
            time.sleep(0.5)
    pytest.fail(f"JupyterLab did not come up: {log.read_text()}")


@pytest.fixture
def lab(tmp_path, request):
    """The URL of the start page that `make lab` opens, in a small clone."""
    need("jupyterlab")
    clone, home, port = tmp_path / "clone", tmp_path / "home", free_port()
    for name in (TOUR, EXERCISES, f"zh/{EXERCISES}", "pyproject.toml"):
        (clone / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(request.config.rootpath / name, clone / name)
    home.mkdir()
    token, log = secrets.token_hex(16), home / "lab.log"
    command = [sys.executable, "-m", "deepseek_learn", "lab"]
    command += ["--port", str(port), "--browser", "none"]
    environment = lab_environment(home) | {"JUPYTER_TOKEN": token}
    environment.pop("DEEPSEEK_LEARN_WORK", None)
    with log.open("w") as out:
        server = subprocess.Popen(
            command, cwd=clone, env=environment, stdout=out, stderr=out
        )
    try:
        base = f"http://127.0.0.1:{port}"
        wait_until_up(server, f"{base}/api/status?token={token}", log)
        assert f"{port}/lab/tree/START.ipynb" in log.read_text()
        yield f"{base}/lab/tree/START.ipynb?token={token}&reset"
    finally:
        server.terminate()  # JupyterLab shuts down its kernels, then itself
        try:
            server.wait(30)
        except subprocess.TimeoutExpired:
            server.kill()


def follow(page, link: str, notebook: str) -> None:
    """Click a link in the open notebook, which must lead to `notebook`."""
    page.locator(f"{OPEN} {link}").first.click(timeout=60_000)
    page.wait_for_function(f"() => {CURRENT}?.context?.path === '{notebook}'")


def run_all(page) -> None:
    page.wait_for_selector(f"{OPEN} .jp-Cell", timeout=120_000)
    page.wait_for_function(IDLE, timeout=120_000)
    page.click(".lm-MenuBar-itemLabel:text-is('Run')")
    page.click(".lm-Menu-itemLabel:text-is('Run All Cells')")
    page.wait_for_function(ALL_RUN, timeout=240_000)
    page.wait_for_function(IDLE, timeout=60_000)


def test_from_the_start_page_to_the_tour_and_its_exercises(lab, browser):
    outside = []
    page = browser.new_page(viewport={"width": 1300, "height": 1000})
    here = ("http://127.0.0.1:", "data:", "blob:")
    page.on(
        "request",
        lambda r: None if r.url.startswith(here) else outside.append(r.url),
    )
    page.goto(lab)
    follow(page, ".jp-RenderedHTML b a", TOUR)  # Next: the tour
    run_all(page)
    assert page.locator(ERRORS).all_inner_texts() == []

    output = page.locator(".jp-OutputArea-output", has=page.locator("img.widget-image"))
    output = output.filter(has=page.locator(".widget-slider")).first
    picture = output.locator("img.widget-image").first
    before = picture.evaluate(PIXELS)
    assert before, "the widget shows no picture"
    output.locator(".noUi-handle").first.focus()
    page.keyboard.press("ArrowRight")
    end = time.monotonic() + 60
    while picture.evaluate(PIXELS) in (None, before):
        assert time.monotonic() < end, "the slider moved, the picture stayed"
        page.wait_for_timeout(100)
    # and back: the image follows the slider, it does not merely flicker
    page.keyboard.press("ArrowLeft")
    while picture.evaluate(PIXELS) != before:
        assert time.monotonic() < end, "the slider came back, the picture did not"
        page.wait_for_timeout(100)

    follow(page, "a:text-is('the exercises of this lesson')", EXERCISES)
    page.wait_for_selector(f"{OPEN} .jp-Cell", timeout=60_000)
    page.close()
    assert set(outside) <= ({BADGE} if repository() else set())
