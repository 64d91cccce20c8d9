"""Each way to forge a certificate is refused, with the reason."""

import base64
import inspect
import json
import os
import re
import shutil
from dataclasses import replace

import numpy as np
import pytest
from typer.testing import CliRunner

from deepseek_learn.cli.commands import app
from deepseek_learn.course.certificate import (
    Refused,
    check_without_running,
    create_key,
    jws,
    keys,
    make,
    making,
    sign,
    verify,
    verifying,
)
from deepseek_learn.course.certificate.contents import Contents, read
from deepseek_learn.course.certificate.credential import Certificate, Issuer
from deepseek_learn.course.certificate.learner import Learner
from deepseek_learn.course.certificate.results import Results
from deepseek_learn.course.certificate.running import run_project
from deepseek_learn.course.certificate.tasks import draw

from .conftest import CONFIG, GRADED, PROJECT, TASKS, rings


def silent(sentence):
    pass


def refused(portfolio, **options):
    """Verify a portfolio that must be refused, and return the reason's key."""
    with pytest.raises(Refused) as error:
        verify(portfolio, say=silent, **options)
    return error.value.reason


def seal_again(portfolio):
    """Do what a forger with the learner's own key can: make the seals fit the files."""
    contents = read(portfolio)
    path = keys.learners_key()
    issuer = Issuer("", keys.own_public(path))
    certificate = Certificate.of(contents, issuer)
    making.seal(portfolio, contents, certificate, path.read_bytes())


def change_results(portfolio, change):
    path = portfolio / "results.json"
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))
    hash_again(portfolio)


def hash_again(portfolio):
    contents = read(portfolio)
    (portfolio / "hashes.txt").write_text(contents.hashes)


def test_an_untouched_portfolio_is_verified(portfolio):
    said = []
    certificate = verify(portfolio, say=said.append)
    assert certificate.learner.name == "Ada Lovelace"
    assert "No university" in said[-1]
    fresh = [re.search(r"score of (0\.\d+),", line) for line in said]
    beside = [line for line in said if "the certificate states" in line]
    for project, score, line in zip(
        certificate.results.projects, filter(None, fresh), beside, strict=True
    ):
        assert f"{project.task}: the certificate states {project.interval};" in line
        assert f"the fresh run gave {score[1]}," in line
    assert sum("was run again, 100%" in sentence for sentence in said) == len(TASKS)


def test_it_is_verified_without_the_learners_key(portfolio, tmp_path, monkeypatch):
    monkeypatch.setenv("DEEPSEEK_LEARN_HOME", str(tmp_path / "somebody else"))
    assert not keys.learners_key().exists()
    certificate = verify(portfolio, everything=True, say=silent)
    assert certificate.learner.name == "Ada Lovelace"


def test_edited_code(portfolio):
    with (portfolio / "projects" / TASKS[0] / "project.py").open("a") as file:
        file.write("\n# better\n")
    assert refused(portfolio) == "edited"


def test_a_tampered_number_in_the_results(portfolio):
    def raise_score(content):
        content["projects"][TASKS[1]][2]["score"] += 0.01

    change_results(portfolio, raise_score)
    assert refused(portfolio) == "number"


@pytest.mark.parametrize("name", ["results.json", "learner.json"])
def test_a_field_twice(portfolio, name):
    """The second one counts here; who reads the file sees the first."""
    path = portfolio / name
    content = path.read_text()
    field = next(iter(json.loads(content)))
    path.write_text(f'{{"{field}": 0,{content[1:]}')
    hash_again(portfolio)
    assert refused(portfolio) == "malformed"


def test_a_number_of_another_kind(portfolio):
    def use_nan(content):
        content["projects"][TASKS[1]][2]["score"] = float("nan")

    change_results(portfolio, use_nan)
    assert refused(portfolio) == "number"


@pytest.mark.parametrize("place", ["result", "name"])
def test_a_tampered_word_in_the_credential(portfolio, place, monkeypatch):
    """Even with the right signature, it must say what the portfolio gives."""
    true_payload = Certificate.payload
    path = keys.learners_key()
    certificate = Certificate.of(read(portfolio), Issuer("", keys.own_public(path)))
    payload = true_payload(certificate)
    if place == "result":
        payload["credentialSubject"]["result"][0]["value"] = "balanced accuracy 0.999"
    else:
        payload["name"] = "Master of Science"
    from openbadgeslib.ob3.signer import OB3Signer

    token = OB3Signer(path.read_bytes(), "EdDSA").sign_payload(payload)
    (portfolio / "credential.jwt").write_text(token)
    assert refused(portfolio) == "credential"


TOKENS = {
    "a field twice": lambda head, body: (
        head,
        b'{"name":"Doctor of Philosophy","issuer":{"id":"did:web:mit.edu"},' + body[1:],
    ),
    "another field in the header": lambda head, body: (
        head[:-1] + b',"kid":"did:web:mit.edu"}',
        body,
    ),
    "another key in the header": lambda head, body: (
        re.sub(rb'"x":"..', b'"x":"AA', head),
        body,
    ),
    "spaces": lambda head, body: (head, body.replace(b'","', b'", "')),
    "another number": lambda head, body: (
        head,
        re.sub(rb'"nbf":(\d+)', rb'"nbf":\1.0', body),
    ),
}


@pytest.mark.parametrize("change", TOKENS)
def test_a_token_in_another_form(portfolio, change):
    """With the right signature, and the right content for one of its readers."""
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    path, key = portfolio / "credential.jwt", keys.learners_key().read_bytes()
    head, body, _ = path.read_text().split(".")
    both = TOKENS[change](decoded(head), decoded(body))
    assert both != (decoded(head), decoded(body))
    signed = ".".join(jws.encoded(part) for part in both)
    signature = load_pem_private_key(key, None).sign(signed.encode())
    path.write_text(f"{signed}.{jws.encoded(signature)}")
    assert refused(portfolio) == "credential_form"


def test_letters_that_a_signature_ignores(portfolio):
    path = portfolio / "credential.jwt"
    original = path.read_text()
    for ignored in ("!!", "\n", "=="):
        path.write_text(original + ignored)
        assert refused(portfolio) in ("signature", "credential_form", "malformed")


def decoded(part):
    return base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))


def test_a_token_that_was_changed_after_signing(portfolio):
    path = portfolio / "credential.jwt"
    head, body, signature = path.read_text().split(".")
    other = ("B" if signature[0] == "A" else "A") + signature[1:]
    path.write_text(".".join([head, body, other]))
    assert refused(portfolio) == "signature"


def test_a_foreign_key(portfolio, tmp_path):
    key = tmp_path / "foreign.pem"
    create_key(key)
    certificate = Certificate.of(read(portfolio), Issuer("", keys.own_public(key)))
    (portfolio / "credential.jwt").write_text(certificate.sign(key.read_bytes()))
    assert refused(portfolio) == "foreign_key"


def test_a_forged_picture_is_told_by_the_page_of_the_verifier(portfolio, tmp_path):
    """Nobody can stop a picture from lying: the verifier says so and draws its own."""
    path, page = portfolio / "certificate.html", tmp_path / "verified.html"
    original = path.read_bytes()
    path.write_bytes(original.replace(b"Ada Lovelace", b"Prof. Dr. Eva Lovelace"))
    (portfolio / "certificate.pdf").write_bytes(b"%PDF-1.4 a doctorate")
    command = ["certificate", "show", str(portfolio), "--page", str(page)]
    result = CliRunner().invoke(app, command)
    assert result.exit_code == 0, result.output
    assert "Eva" not in result.output
    assert page.read_bytes() == original != path.read_bytes()


def test_verify_names_the_files_that_it_does_not_check(portfolio):
    sentences = []
    check_without_running(read(portfolio), say=sentences.append)
    (sentence,) = [each for each in sentences if "proves nothing" in each]
    assert "certificate.html, certificate.svg. " in sentence


def test_a_portfolio_of_an_earlier_version(portfolio, tmp_path):
    """Its pictures were an SVG and a PDF: it still holds, and a new seal drops them."""
    (portfolio / "certificate.html").unlink()
    for name in ("certificate.svg", "certificate.pdf"):
        (portfolio / name).write_bytes(b"drawn by an earlier version")
    assert verify(portfolio, say=silent).learner.name == "Ada Lovelace"
    create_key(tmp_path / "teacher.pem")
    sign(portfolio, tmp_path / "teacher.pem", "Grace Hopper", silent)
    assert not (portfolio / "certificate.pdf").exists()
    assert b"earlier" not in (portfolio / "certificate.svg").read_bytes()
    assert b"key of Grace Hopper" in (portfolio / "certificate.html").read_bytes()


def test_a_copied_portfolio_under_another_name(portfolio):
    path = portfolio / "learner.json"
    path.write_text(path.read_text().replace("Ada Lovelace", "Eve"))
    hash_again(portfolio)
    assert refused(portfolio) == "salt"


def test_a_copied_portfolio_with_the_copiers_own_key(portfolio, tmp_path, monkeypatch):
    """The copier signs with a key of their own; the seeds are still the other's."""
    monkeypatch.setenv("DEEPSEEK_LEARN_HOME", str(tmp_path / "copier"))
    key = create_key(keys.learners_key())
    copied = Learner.new("Eve", "en", key.did)
    issuer = Issuer("", key)
    original = Certificate.of(read(portfolio), issuer)
    token = replace(original, learner=copied).sign(keys.learners_key().read_bytes())
    (portfolio / "credential.jwt").write_text(token)
    (portfolio / "learner.json").write_bytes(copied.to_json())
    hash_again(portfolio)
    assert refused(portfolio) == "salt"


def test_making_somebody_elses_portfolio(portfolio, tmp_path, monkeypatch):
    monkeypatch.setenv("DEEPSEEK_LEARN_HOME", str(tmp_path / "copier"))
    create_key(keys.learners_key())
    with pytest.raises(Refused, match=r"Ada Lovelace.*another key"):
        make(portfolio, silent)


def test_results_relabeled_to_other_seeds(portfolio):
    """The predictions of two runs change places."""
    task = TASKS[0]
    rows = json.loads((portfolio / "results.json").read_text())["projects"][task]
    files = [portfolio / "runs" / task / f"{row['seed']}.json" for row in rows[:2]]
    first, second = (file.read_text() for file in files)
    files[0].write_text(second)
    files[1].write_text(first)
    hash_again(portfolio)
    assert refused(portfolio) == "number"


def test_seeds_of_ones_choice(portfolio):
    task = TASKS[0]

    def choose(content):
        row = content["projects"][task][0]
        folder = portfolio / "runs" / task
        (folder / f"{row['seed']}.json").rename(folder / "7.json")
        row["seed"] = 7

    change_results(portfolio, choose)
    assert refused(portfolio) == "salt"


def truth(project, run):
    return draw(project.task, run.seed).test_y


def test_values_that_no_run_gave(portfolio):
    """All seals fit, the predictions are the true classes; the code cannot give them."""
    contents = read(portfolio)
    learner = Learner.of(contents)
    results = Results.of(contents, learner)
    forged = [
        type(project)(
            project.task,
            tuple(
                replace(
                    run, score=1.0, predictions=tuple(map(int, truth(project, run)))
                )
                for run in project.runs
            ),
        )
        for project in results.projects
    ]
    files = Results(results.made, tuple(forged), results.graded).files(learner)
    for path, content in files.items():
        (portfolio / path).write_bytes(content)
    seal_again(portfolio)
    assert refused(portfolio) == "not_reproduced"


def test_code_that_was_edited_and_sealed_again(portfolio):
    """The code no longer gives the recorded predictions."""
    for task in TASKS:
        path = portfolio / "projects" / task / "config.json"
        path.write_text('{"limit": 1.5, "noise": 0.1}')
    seal_again(portfolio)
    assert refused(portfolio) == "not_reproduced"


def test_a_project_that_knows_its_recorded_seeds(portfolio, monkeypatch):
    """It replays what was recorded, but fails where the seed is fresh."""
    learner = Learner.of(read(portfolio))
    for task in TASKS:
        path = portfolio / "projects" / task / "project.py"
        seeds = learner.training_seeds(task)
        known = f"\n    if seed not in {seeds}: return y[:1].repeat(200)\n"
        source = path.read_text()
        path.write_text(source.replace("config):", f"config):{known}", 1))
    seal_again(portfolio)
    assert refused(portfolio) == "below"


def test_a_project_that_recognizes_its_recorded_runs(draft):
    """It is better in them than in others, and spoils one to widen its interval."""
    learner = Learner.of(read(draft))
    seeds = learner.training_seeds(TASKS[0])
    path = draft / "projects" / TASKS[0] / "project.py"
    source = path.read_text().replace(
        "(radius > config",
        f"spoilt[{seeds}.index(seed)] ^ (radius > config",
    )
    lines = "    spoilt = np.zeros((5, 200), int)\n    spoilt[1, :70] = 1\n    return"
    path.write_text(source.replace("    return", lines))
    with pytest.raises(Refused, match=r"may reach at most 0\.25 below") as error:
        make(draft, silent)
    assert error.value.reason == "wide"


def test_a_project_that_draws_the_tests_again(draft):
    """It carries the task, and draws its classes from the seed that it gets."""
    path = draft / "projects" / TASKS[0] / "project.py"
    lines = inspect.getsource(rings).replace("(rng, _=None)", "(rng)")
    lines = lines.replace(
        "Draw(*points(100), *points(200))", "points(100), points(200)"
    )
    path.write_text(f"""
import numpy as np

{lines}

def predict(x, y, test_x, seed, config):
    (_, known), (_, labels) = rings(np.random.default_rng(seed))
    return labels
""")
    with pytest.raises(Refused) as error:
        make(draft, silent)
    assert error.value.reason == "run_not_better"


def test_a_project_is_not_told_what_drew_its_tests(portfolio, monkeypatch):
    """Neither in its recorded runs nor in those of a verification."""
    drawn, told = [], []
    run, draw_once = making.run_project, making.draw

    def draw_and_note(task, seed, data):
        drawn.append(seed)
        return draw_once(task, seed, data)

    def run_and_note(files, draw, seed):
        told.append(seed)
        return run(files, draw, seed)

    monkeypatch.setattr(making, "draw", draw_and_note)
    monkeypatch.setattr(making, "run_project", run_and_note)
    verify(portfolio, say=silent)
    assert len(drawn) == len(told) == 2 * len(TASKS)
    assert not set(drawn) & set(told)
    rows = json.loads((portfolio / "results.json").read_text())["projects"]
    for row in (row for task in TASKS for row in rows[task]):
        assert row["training_seed"] != row["seed"]


def test_a_training_seed_of_ones_choice(portfolio):
    def choose(content):
        content["projects"][TASKS[0]][0]["training_seed"] = 7

    change_results(portfolio, choose)
    assert refused(portfolio) == "salt"


def test_one_spoilt_run_among_perfect_ones(draft, monkeypatch):
    """Whose interval is so wide that a further run at chance level lies in it."""
    learner = Learner.of(read(draft))
    first = learner.training_seeds(TASKS[0])[2]
    path = draft / "projects" / TASKS[0] / "project.py"
    spoil = f"config):\n    if seed == {first}: return y[:1].repeat(200)\n"
    path.write_text(path.read_text().replace("config):", spoil, 1))
    with pytest.raises(
        Refused, match=r"0\.500 is not above .* data, 0\.\d{3}\.$"
    ) as error:
        make(draft, silent)
    assert error.value.reason == "run_not_better"


def test_a_fresh_run_at_chance_level_in_a_wide_interval(portfolio, monkeypatch):
    """The interval holds it, the baseline of the same data refuses it."""
    certificate = check_without_running(read(portfolio), say=silent)
    wide = replace(
        certificate.results.projects[0],
        runs=tuple(
            replace(run, score=score)
            for run, score in zip(
                certificate.results.projects[0].runs, (1, 1, 1, 1, 0.6), strict=True
            )
        ),
    )
    assert wide.interval.low < 0.5
    spoilt = dict(read(portfolio).files)
    spoilt[f"projects/{TASKS[0]}/project.py"] = (
        b"def predict(x, y, test_x, seed, config): return y[:1].repeat(200)"
    )
    with pytest.raises(Refused) as error:
        verifying.check_fresh(Contents(spoilt), wide, silent)
    assert error.value.reason == "run_not_better"


def test_weights_in_many_small_files(portfolio):
    """Each within the limit, all of them together not."""
    folder = portfolio / "projects" / TASKS[0]
    for number in range(2):
        (folder / f"part_{number}.py").write_text("#" * (40 << 10))
    with pytest.raises(Refused, match=rf"projects/{TASKS[0]} brings along \d+ bytes"):
        verify(portfolio, say=silent)
    (folder / "part_0.py").unlink()
    (folder / "config.json").write_text(json.dumps({"weights": "x" * (40 << 10)}))
    assert refused(portfolio) == "too_much_code"


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("projects/rings_a/__pycache__/project.cpython-311.pyc", "unknown_file"),
        ("projects/rings_a/project.pyc", "unknown_file"),
        ("projects/rings_a/.hidden", "name"),
        ("graded/other.txt", "unknown_file"),
        ("runs/rings_a/notes.json", "unknown_file"),
        ("projects/rings_a/two\x1b[2Jlines.py", "name"),
        ("projects/rings_a/\u202egnp.py", "name"),
    ],
)
def test_files_outside_the_hash(portfolio, name, reason):
    path = portfolio / name
    path.parent.mkdir(exist_ok=True)
    path.write_text("")
    with pytest.raises(Refused) as error:
        verify(portfolio, say=silent)
    assert error.value.reason == reason
    assert str(error.value).isprintable()


def test_links(portfolio, tmp_path):
    original = portfolio / "projects" / TASKS[0] / "project.py"
    elsewhere = tmp_path / "elsewhere.py"
    shutil.copy(original, elsewhere)
    for link in (os.symlink, os.link):
        original.unlink()
        link(elsewhere, original)
        assert refused(portfolio) == "link"
    shutil.rmtree(portfolio / "graded")
    os.symlink(tmp_path, portfolio / "graded")
    assert refused(portfolio) == "link"


def test_a_pipe_does_not_block(portfolio):
    path = portfolio / "learner.json"
    path.unlink()
    os.mkfifo(path)
    assert refused(portfolio) == "link"


@pytest.mark.parametrize(
    "name", ["A\x1b[2J\x1b[HVerified", "A\nB", "\u202eecilA", "", " A"]
)
def test_a_name_that_repaints_the_screen(portfolio, name):
    path = portfolio / "learner.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"name": name}))
    hash_again(portfolio)
    with pytest.raises(Refused, match="visible characters") as error:
        verify(portfolio, say=silent)
    assert str(error.value).isprintable()


def test_an_error_that_repaints_the_screen(draft):
    path = draft / "projects" / TASKS[0] / "project.py"
    path.write_text("raise ValueError('\\x1b[2JVerified\\n')")
    with pytest.raises(Refused, match="did not run to its end") as error:
        make(draft, silent)
    assert str(error.value).isprintable()


def test_a_key_that_the_code_tries_to_read(draft):
    """While it is made, the project looks for the key, and gets nothing."""
    key = keys.learners_key()
    path = draft / "projects" / TASKS[0] / "project.py"
    path.write_text(f"open({str(key)!r})\n{path.read_text()}")
    with pytest.raises(Refused, match="FileNotFoundError"):
        make(draft, silent)


def test_a_key_in_the_portfolio_or_open_to_others(portfolio, tmp_path):
    key = tmp_path / "teacher.pem"
    create_key(key)
    key.chmod(0o644)
    with pytest.raises(Refused, match="can be read by others"):
        sign(portfolio, key, "A Teacher", silent)
    inside = portfolio / "teacher.pem"
    key.chmod(0o600)
    shutil.copy(key, inside)
    with pytest.raises(Refused, match="lies in the portfolio"):
        sign(portfolio, inside, "A Teacher", silent)


ANSWERS = {
    "patched": "import numpy\nnumpy.allclose = lambda *a, **k: True\n"
    "from deepseek_learn.course import expect\nexpect.shape = lambda *a, **k: 0\n"
    "def linear_int8(q, *rest): return q.astype(float)",
    "exit": "import sys\ndef linear_int8(*arguments): sys.exit(0)",
    "exit at once": "import os\nos._exit(0)",
    "printed": "def linear_int8(*a):\n    print('passed')\n    return 'passed'",
    "equal to all": "class Equal(float):\n    __eq__ = lambda s, o: True\n"
    "def linear_int8(*arguments): return Equal()",
    "solution": "from deepseek_learn.course import problems\n"
    "exec(problems.get('multiply_in_integers').reference())",
    "check's own inputs": "def linear_int8(q, s_x, z, w, s_w):\n"
    "    q[:], w[:] = 0, 0\n    return (q @ w.T).astype(float)",
    "loop": "def linear_int8(*arguments):\n    while True: pass",
}


@pytest.mark.parametrize("attack", ANSWERS)
def test_answers_that_answer_for_the_check(portfolio, attack, monkeypatch):
    monkeypatch.setattr(making.run_graded, "__defaults__", (2.0,))  # seconds
    (portfolio / "graded" / f"{GRADED}.py").write_text(ANSWERS[attack])
    seal_again(portfolio)
    assert refused(portfolio) == "graded_wrong"


def test_a_stage_without_a_graded_answer(portfolio):
    (portfolio / "graded" / f"{GRADED}.py").unlink()
    hash_again(portfolio)
    assert refused(portfolio) == "stage"


def test_a_lookup_of_the_classes_is_not_possible_inside():
    """The data of the tasks is not there."""
    source = PROJECT.replace(
        "rng =", "from deepseek_learn import data; data.mail(); rng ="
    )
    files = {"project.py": source.encode(), "config.json": CONFIG.encode()}
    drawn = rings(np.random.default_rng(0))
    with pytest.raises(Refused, match="did not run to its end"):
        run_project(files, drawn, 0)
    files["project.py"] = PROJECT.encode()
    assert len(run_project(files, drawn, 0)) == len(drawn.test_y)


def test_where_nothing_isolates_only_trusted_code_runs(portfolio, monkeypatch):
    monkeypatch.setattr(verifying, "isolation", lambda: "sockets refused")
    assert refused(portfolio) == "no_isolation"


@pytest.mark.parametrize("name", ["projects/rings_a/project.py", "results.json"])
def test_a_file_that_is_too_large(portfolio, name):
    with (portfolio / name).open("a") as file:
        file.write("\n" * (1 << 20))
    assert refused(portfolio) == "too_large"


def test_too_many_files(portfolio):
    for number in range(500):
        (portfolio / "runs" / "rings_a" / f"{number}.json").touch()
    assert refused(portfolio) == "many_files"
