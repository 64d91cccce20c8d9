"""A quiz in JupyterLab: its keys belong to the form, and its script runs."""

import secrets
import subprocess
import sys

import nbformat
import pytest

from deepseek_learn import course
from deepseek_learn.catalog import text
from deepseek_learn.course.authoring import exercises
from deepseek_learn.course.lessons import lesson
from tests.services import need
from tests.test_lab import free_port, lab_environment, run_all, wait_until_up

KEPT = ("setup", "start", "quiz")


@pytest.fixture
def lab(tmp_path):
    """The URL of a lab with the quiz of the tour's exercise notebook."""
    need("jupyterlab")
    home, port, token = tmp_path / "home", free_port(), secrets.token_hex(16)
    home.mkdir()
    notebook = exercises.notebook(lesson("tour"), "en")
    notebook.cells = [cell for cell in notebook.cells if cell.id in KEPT]
    nbformat.write(notebook, tmp_path / "quiz.ipynb")
    command = [sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root"]
    command += ["--port", str(port), f"--IdentityProvider.token={token}"]
    with (home / "lab.log").open("w") as out:
        server = subprocess.Popen(
            command, cwd=tmp_path, env=lab_environment(home), stdout=out, stderr=out
        )
    try:
        base = f"http://127.0.0.1:{port}"
        wait_until_up(server, f"{base}/api/status?token={token}", home / "lab.log")
        yield f"{base}/lab/tree/quiz.ipynb?token={token}&reset"
    finally:
        server.terminate()
        try:
            server.wait(30)
        except subprocess.TimeoutExpired:
            server.kill()


@pytest.mark.service
def test_the_keys_answer_the_quiz_and_do_not_move_the_cells(lab, browser):
    page = browser.new_page(viewport={"width": 1300, "height": 1000})
    page.goto(lab)
    run_all(page)
    question = course.quiz("tour").questions[0]
    form = page.locator(".ds-quiz form").first
    form.locator("input").first.focus()
    for key in ["Space", *["ArrowDown"] * question.right, "Enter"]:
        page.keyboard.press(key)
    reply = form.locator("[role=status]")
    why = question.answers[question.right].why["en"]
    assert reply.inner_text() == f"{text('quiz.right')} {why}"
    focus = "document.activeElement.closest('.ds-quiz') !== null"
    assert page.evaluate(focus), "JupyterLab took the keys for its own commands"
    assert page.locator(".jp-Cell").count() == len(KEPT)
    page.close()
