"""An endpoint as a model: what is sent, what comes back, and that nothing is lost when it fails."""

from __future__ import annotations

import base64
import email.utils
import io
import json
import random
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from PIL import Image as pil

import flamingo_lab as fl
from flamingo_lab.backends.openai import EndpointModel
from flamingo_lab.cli import run
from flamingo_lab.endpoint.client import Endpoint
from flamingo_lab.errors import BadEndpoint, BadPrompt, BadSetting, LabError
from tests.backends.faulty import FaultyServer, Reply, Script, echo, question, said

KEY = "sk-do-not-tell-anyone-1234"

Serve = Callable[[Script], FaultyServer]


@pytest.fixture(autouse=True)
def without_a_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)


@pytest.fixture
def serve() -> Iterator[Serve]:
    with ExitStack() as stack:
        yield lambda script: stack.enter_context(FaultyServer(script).running())


def impatient(server: FaultyServer, **settings: Any) -> EndpointModel:
    """A model that pauses for hundredths of a second."""
    given = {"first_pause_seconds": 0.01, "longest_pause_seconds": 0.05, "timeout_seconds": 5.0, "retries": 3}
    return EndpointModel("m", Endpoint(server.url, **given | settings))


def asked(count: int, picture: fl.Image, **settings: Any) -> list[fl.Request]:
    return [fl.Request(f"q{n}", fl.Prompt.ask(picture, f"number {n}"), **settings) for n in range(count)]


def by_id(answers: Iterable[fl.Answer]) -> dict[str, fl.Answer]:
    return {answer.id: answer for answer in answers}


def sent_pictures(body: dict[str, Any]) -> list[pil.Image]:
    urls = [
        part["image_url"]["url"]
        for message in body["messages"]
        if isinstance(message["content"], list)
        for part in message["content"]
        if part["type"] == "image_url"
    ]
    return [pil.open(io.BytesIO(base64.b64decode(url.partition(",")[2]))) for url in urls]


def test_a_conversation_is_sent_with_its_pictures_in_order(serve: Serve, pictures: list[fl.Image]) -> None:
    server = serve(echo)
    wide, tall, square, _ = pictures
    shots = [fl.Shot(tall, "what?", answer="a tower")]
    prompt = fl.Prompt.ask(wide, "between", square, "and?", shots=shots, system="be brief")
    request = fl.Request("q", prompt, max_new_tokens=7)
    model = impatient(server)
    (answer,) = model.answers([request])
    (body,) = server.bodies
    assert body["model"] == "m" and body["max_tokens"] == 7 and body["temperature"] == 0
    assert body.keys() == {"model", "messages", "max_tokens", "temperature"}
    roles = [(message["role"], message["content"]) for message in body["messages"]]
    assert roles[0] == ("system", "be brief") and roles[2] == ("assistant", "a tower")
    assert [part["type"] for part in roles[3][1]] == ["image_url", "text", "image_url", "text"]
    for image, picture in zip((tall, wide, square), sent_pictures(body), strict=True):
        assert list(picture.get_flattened_data()) == list(image.load().get_flattened_data())
    assert (answer.text, answer.images, answer.prompt_tokens, answer.new_tokens) == ("betweenand?", 3, 11, 3)
    assert answer.stopped_by == "stop token" and answer.seconds > 0
    sent = model.sent(request)
    marks = {name: f"<image:{image.digest[:12]}>" for name, image in zip("wts", (wide, tall, square), strict=True)}
    assert sent.text == (
        f"system: be brief\nuser: {marks['t']}what?\nassistant: a tower\nuser: {marks['w']}between{marks['s']}and?"
    )
    assert (sent.images, sent.shots) == (3, 1)


def files(folder: Path) -> dict[str, tuple[fl.Image, str]]:
    """Pictures in files, and the kind in which each is sent."""
    picture = pil.radial_gradient("L").resize((40, 30)).convert("RGB")
    found: dict[str, tuple[fl.Image, str]] = {}
    for name, kind in (("a.png", "png"), ("a.jpg", "jpeg"), ("a.webp", "png"), ("a.bmp", "png"), ("a.tiff", "png")):
        picture.save(folder / name)
        found[name] = fl.Image(folder / name), kind
    turned = pil.Exif()
    turned[0x0112] = 6
    picture.save(folder / "turned.jpg", exif=turned)
    found["turned.jpg"] = fl.Image(folder / "turned.jpg"), "png"
    frames = [pil.new("RGB", (9, 9), colour) for colour in ("red", "blue")]
    frames[0].save(folder / "moving.png", save_all=True, append_images=frames[1:])
    found["moving.png"] = fl.Image(folder / "moving.png"), "png"
    picture.convert("CMYK").save(folder / "cmyk.tiff")
    found["cmyk.tiff"] = fl.Image(folder / "cmyk.tiff"), "png"
    found["bytes"] = fl.Image((folder / "a.jpg").read_bytes()), "jpeg"
    found["address"] = (
        fl.Image("data:image/png;base64," + base64.b64encode((folder / "a.png").read_bytes()).decode()),
        "png",
    )
    found["palette"] = fl.Image(picture.convert("P")), "png"
    found["alpha"] = fl.Image(picture.convert("RGBA")), "png"
    return found


def test_pictures_of_all_kinds_are_sent_as_they_look_to_us(serve: Serve, tmp_path: Path) -> None:
    server = serve(echo)
    model = impatient(server)
    for name, (image, kind) in files(tmp_path).items():
        server.forget()
        model.answer(image, "?")
        (body,) = server.bodies
        url = body["messages"][0]["content"][0]["image_url"]["url"]
        assert url.startswith(f"data:image/{kind};base64,"), name
        (picture,) = sent_pictures(body)
        assert picture.convert("RGB").tobytes() == image.load().convert("RGB").tobytes(), name
        assert picture.getexif().get(0x0112, 1) == 1 and not getattr(picture, "is_animated", False), name


def test_draws_are_asked_for_by_seed_and_id(serve: Serve, pictures: list[fl.Image]) -> None:
    server = serve(echo)
    model = impatient(server)
    prompt = fl.Prompt.ask(pictures[0], "?")

    def seed(name: str, number: int) -> int:
        server.forget()
        list(model.answers([fl.Request(name, prompt, fl.Sample(0.7, 0.9, number))]))
        (body,) = server.bodies
        assert (body["temperature"], body["top_p"]) == (0.7, 0.9)
        assert 0 <= body["seed"] < 2**31
        return body["seed"]

    assert seed("a", 1) == seed("a", 1)
    assert len({seed("a", 1), seed("a", 2), seed("b", 1)}) == 3


def test_stop_texts_are_cut_here_and_not_sent(serve: Serve, pictures: list[fl.Image]) -> None:
    server = serve(lambda body, tries: said("yes. It is\nQuestion: next?", "length"))
    model = impatient(server)
    prompt = fl.Prompt.ask(pictures[0], "?")
    whole, cut, first = (
        model.generate(prompt, stop=stop) for stop in ((), ("Question:", "nothing"), ("Question:", ". It", "\n"))
    )
    assert (whole.text, whole.stopped_by) == ("yes. It is\nQuestion: next?", "length")
    assert (cut.text, cut.stopped_by) == ("yes. It is\n", "stop text")
    assert first.text == "yes"
    assert all("stop" not in body for body in server.bodies)


def test_reasons_of_ending(serve: Serve, pictures: list[fl.Image]) -> None:
    replies = {
        "length": said("a", "length"),
        "tokens": said("a", "max_tokens"),
        "no reason": said("a", None),
        "thought": said(None, "length"),
        "refused": Reply({"choices": [{"finish_reason": "stop", "message": {"content": None, "refusal": "no"}}]}),
        "filtered": said("a", "content_filter"),
        "called": said(None, "tool_calls"),
    }
    model = impatient(serve(lambda body, tries: replies[question(body)]))
    found = by_id(model.answers([fl.Request(name, fl.Prompt.ask(pictures[0], name)) for name in replies]))
    assert [found[name].stopped_by for name in ("length", "tokens", "no reason")] == ["length", "length", "stop token"]
    assert (found["thought"].text, found["refused"].text) == ("", "no")
    assert found["refused"].new_tokens == 0
    for name in ("filtered", "called"):
        assert found[name].error and found[name].error.kind == "BadEndpoint" and found[name].text == ""


PASSING = {
    "500": Reply({"error": {"message": "out of memory"}}, 500),
    "503": Reply("busy", 503),
    "429": Reply({"error": "slow down"}, 429),
    "408": Reply("", 408),
    "cut before": Reply(is_cut=True),
    "cut within": replace(said("half"), missing=20),
    "no JSON": Reply("<html>gateway</html>"),
    "half JSON": Reply('{"choices": [{"mess'),
    "no choices": Reply({"choices": []}),
    "no message": Reply({"choices": [{"text": "old"}]}),
    "content is a number": said(3),  # pyright: ignore[reportArgumentType]
    "a list": Reply([1, 2]),
}


@pytest.mark.parametrize("fault", PASSING)
def test_what_passes_is_asked_again(fault: str, serve: Serve, pictures: list[fl.Image]) -> None:
    server = serve(lambda body, tries: PASSING[fault] if tries < 3 else echo(body, tries))
    found = by_id(impatient(server).answers(asked(3, pictures[0])))
    assert {name: answer.text for name, answer in found.items()} == {f"q{n}": f"number {n}" for n in range(3)}
    assert len(server.bodies) == 9


KINDS = {
    "cut before": "Connection",
    "cut within": "Connection",
    "500": "HTTP 500",
    "503": "HTTP 503",
    "429": "HTTP 429",
}


@pytest.mark.parametrize("fault", PASSING)
def test_what_does_not_pass_is_an_error_of_that_question_alone(
    fault: str, serve: Serve, pictures: list[fl.Image]
) -> None:
    server = serve(lambda body, tries: PASSING[fault] if "1" in question(body) else echo(body, tries))
    found = by_id(impatient(server, retries=2).answers(asked(4, pictures[0])))
    error = found["q1"].error
    assert error is not None and error.kind == KINDS.get(fault, "HTTP 408" if fault == "408" else "Malformed")
    assert error.message and "\n" not in error.message
    assert [found[f"q{n}"].text for n in (0, 2, 3)] == ["number 0", "number 2", "number 3"]
    assert len(server.bodies) == 3 + 3


def test_an_endpoint_that_refuses_log_probabilities_tells_none(serve: Serve, pictures: list[fl.Image]) -> None:
    request = fl.Request("q", fl.Prompt.ask(pictures[0], "which?"), fl.Rank(("A", "B")))
    unwilling = serve(lambda body, tries: Reply("no logprobs", 400) if "logprobs" in body else echo(body, tries))
    with pytest.raises(BadSetting, match="tells no log-probabilities"):
        impatient(unwilling).sent(request)
    broken = serve(lambda body, tries: Reply("gone", 503))
    with pytest.raises(BadEndpoint, match="HTTP 503: gone"):
        impatient(broken, retries=0).sent(request)


@pytest.mark.parametrize("status", [400, 401, 403, 404, 413, 422, 501, 302])
def test_what_is_refused_is_not_asked_again(status: int, serve: Serve, pictures: list[fl.Image]) -> None:
    server = serve(lambda body, tries: Reply({"error": {"message": "too many\npictures"}}, status))
    (answer,) = impatient(server).answers(asked(1, pictures[0]))
    assert answer.error and answer.error.kind == f"HTTP {status}"
    assert answer.error.message == f"HTTP {status}: too many pictures"
    assert len(server.bodies) == 1


def test_an_endpoint_that_is_too_slow(serve: Serve, pictures: list[fl.Image]) -> None:
    slow = Reply(delay_seconds=1.6)
    server = serve(lambda body, tries: slow if "1" in question(body) or tries == 1 else echo(body, tries))
    model = impatient(server, timeout_seconds=0.8, retries=1)
    found = by_id(model.answers(asked(3, pictures[0])))
    assert found["q1"].error and found["q1"].error.kind == "Timeout"
    assert "no answer within 0.8 seconds" in found["q1"].error.message
    assert (found["q0"].text, found["q2"].text) == ("number 0", "number 2")


@pytest.mark.parametrize("is_date", [False, True])
def test_a_wanted_pause_holds_all_requests(is_date: bool, serve: Serve, pictures: list[fl.Image]) -> None:
    def script(body: Any, tries: int) -> Reply:
        wanted = email.utils.formatdate(time.time() + 2, usegmt=True) if is_date else "1"
        is_first = "number 0" in question(body) and tries == 1
        return Reply("", 429, {"Retry-After": wanted}) if is_first else echo(body, tries)

    server = serve(script)
    found = list(impatient(server, concurrency=1).answers(asked(4, pictures[0])))
    assert [answer.text for answer in found] == [f"number {n}" for n in range(4)]
    assert server.times[1] - server.times[0] > 0.9
    assert server.times[-1] - server.times[1] < 0.9


def test_a_pause_that_is_too_long_is_not_waited_for(serve: Serve, pictures: list[fl.Image]) -> None:
    server = serve(lambda body, tries: Reply("quota", 429, {"Retry-After": "86400"}))
    (answer,) = impatient(server).answers(asked(1, pictures[0]))
    assert answer.error and answer.error.message == "HTTP 429: quota (to be asked again in 86400 seconds)"
    assert len(server.bodies) == 1


def test_requests_keep_their_pace(serve: Serve, pictures: list[fl.Image]) -> None:
    server = serve(echo)
    list(impatient(server, requests_per_minute=300).answers(asked(6, pictures[0])))
    assert 0.6 < server.times[-1] - server.times[0] < 5


def test_so_many_requests_at_once_and_no_more(serve: Serve, pictures: list[fl.Image]) -> None:
    server = serve(lambda body, tries: replace(echo(body, tries), delay_seconds=0.05))
    assert len(list(impatient(server, concurrency=4).answers(asked(24, pictures[0])))) == 24
    assert server.most == 4


def test_nothing_is_lost_among_faults_of_all_kinds(serve: Serve, pictures: list[fl.Image]) -> None:
    faults = list(PASSING.values())

    def script(body: Any, tries: int) -> Reply:
        drawing = random.Random(question(body))
        planned = drawing.choices(faults, k=drawing.randrange(4))
        return planned[tries - 1] if tries <= len(planned) else echo(body, tries)

    server = serve(script)
    answers = list(impatient(server, concurrency=8).answers(asked(80, pictures[0])))
    assert len(answers) == 80
    assert {answer.id: (answer.text, answer.error) for answer in answers} == {
        f"q{n}": (f"number {n}", None) for n in range(80)
    }


def test_requests_are_taken_as_they_are_needed_and_stop_when_closed(serve: Serve, pictures: list[fl.Image]) -> None:
    server = serve(echo)
    taken: list[str] = []

    def endless() -> Iterator[fl.Request]:
        for n in range(10**6):
            taken.append(f"q{n}")
            yield fl.Request(f"q{n}", fl.Prompt.ask(pictures[0], f"number {n}"))

    answers = impatient(server, concurrency=2).answers(endless())
    with closing(answers):  # pyright: ignore[reportArgumentType]
        for _ in range(5):
            next(answers)
    assert len(taken) <= 10
    time.sleep(0.2)
    reached = len(server.bodies)
    time.sleep(0.3)
    assert len(server.bodies) == reached <= len(taken)


def test_closing_does_not_wait_for_pauses(serve: Serve, pictures: list[fl.Image]) -> None:
    server = serve(lambda body, tries: echo(body, tries) if "0" in question(body) else Reply("", 503))
    began = time.monotonic()
    answers = impatient(server, first_pause_seconds=60, longest_pause_seconds=60).answers(asked(3, pictures[0]))
    assert next(answers).text == "number 0"
    answers.close()  # pyright: ignore[reportAttributeAccessIssue]
    assert time.monotonic() - began < 5


def ranking(tokens: dict[str, float]) -> Reply:
    top = [{"token": token, "logprob": logprob} for token, logprob in tokens.items()]
    content = [{"token": next(iter(tokens)), "logprob": 0.0, "top_logprobs": top}]
    return said(next(iter(tokens)), "length", logprobs={"content": content})


def test_options_of_one_token_are_ranked_by_log_probabilities(serve: Serve, pictures: list[fl.Image]) -> None:
    server = serve(lambda body, tries: ranking({" B": -0.25, "A": -2.0, "B": -3.0, " C": -4.0}))
    model = impatient(server)
    prompt = fl.Prompt.ask(pictures[0], "which?")
    request = fl.Request("q", prompt, fl.Rank(("A", "B", "C")))
    assert model.sent(request).images == 1
    server.forget()
    (answer,) = model.answers([request])
    assert (answer.text, answer.logprob, answer.stopped_by) == ("B", -0.25, "rank")
    assert answer.option_logprobs == (-2.0, -0.25, -4.0)
    assert server.bodies[0]["logprobs"] is True and server.bodies[0]["top_logprobs"] == 20
    (answer,) = model.answers([replace(request, decoding=fl.Rank(("A", "a long one")))])
    assert answer.error and "option 'a long one' is none of the 4 likeliest first tokens" in answer.error.message


def test_options_without_log_probabilities_are_refused_before_anything_is_asked(
    serve: Serve, pictures: list[fl.Image]
) -> None:
    server = serve(echo)
    model = impatient(server)
    request = fl.Request("q", fl.Prompt.ask(pictures[0], "which?"), fl.Rank(("A", "B")))
    for _ in range(3):
        with pytest.raises(BadSetting, match="tells no log-probabilities, so it cannot rank options"):
            model.sent(request)
    assert len(server.bodies) == 1, "it is tried once"
    (answer,) = model.answers([request])
    assert answer.error and answer.error.message == "the endpoint tells no log-probabilities, so it cannot rank options"


def test_what_no_endpoint_can_do_is_told(serve: Serve, pictures: list[fl.Image]) -> None:
    model = impatient(serve(echo))
    prompt = fl.Prompt.ask(pictures[0], "?")
    bad = {
        "raw": fl.Request("q", fl.Prompt.raw(pictures[0], "?")),
        "beam": fl.Request("q", prompt, fl.Beam(2)),
        "least": fl.Request("q", prompt, min_new_tokens=3),
        "forbidden": fl.Request("q", prompt, forbidden=("no",)),
        "no options": fl.Request("q", prompt, fl.Rank(())),
        "ends": fl.Request("q", prompt, fl.Rank(("a",), ends=True)),
    }
    for request in bad.values():
        with pytest.raises((BadPrompt, BadSetting)):
            model.sent(request)
        (answer,) = model.answers([request])
        assert answer.error and answer.error.kind in ("BadPrompt", "BadSetting")
    (answer,) = model.answers([fl.Request("q", fl.Prompt.ask(fl.Image(b"no", name="broken.png"), "?"))])
    assert answer.error and answer.error.kind == "BadImage" and "broken.png" in answer.error.message
    with pytest.raises(LabError, match="no beam search"):
        model.generate(prompt, fl.Beam(2))


def test_the_other_name_of_the_limit_is_learnt(serve: Serve, pictures: list[fl.Image]) -> None:
    def script(body: Any, tries: int) -> Reply:
        if "max_tokens" in body:
            return Reply({"error": {"message": "'max_tokens' is not supported; use 'max_completion_tokens'"}}, 400)
        return echo(body, tries)

    server = serve(script)
    model = fl.load("openai:m", base_url=server.url)
    assert model.answer(pictures[0], "now?").text == "now?"
    assert server.bodies[-1]["max_completion_tokens"] == 32 and "max_tokens" not in server.bodies[-1]


def leaky(body: Any, tries: int) -> Reply:
    """A server that repeats the key wherever it can."""
    if "1" in question(body):
        return Reply({"error": {"message": f"bad header Authorization: Bearer {KEY}"}}, 400)
    return echo(body, tries)


def test_the_key_is_sent_and_never_told(
    serve: Serve, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    server = serve(leaky)
    monkeypatch.setenv("MY_KEY", f" {KEY}\n")
    monkeypatch.chdir(tmp_path)
    command = ["--model", "openai:m", "--base-url", server.url, "--api-key-env", "MY_KEY", "--retries", "0"]
    code = run(["eval", "--tasks", "easy-vqa", "--limit", "12", "--num-fewshot", "1", "--json", *command])
    out, err = capsys.readouterr()
    assert code == 0
    assert {headers["Authorization"] for headers in server.headers} == {f"Bearer {KEY}"}
    picture = tmp_path / "a.png"
    pil.new("RGB", (9, 9)).save(picture)
    assert run(["ask", "--image", str(picture), "number 1", *command]) == 2
    told = capsys.readouterr().err
    assert told == "error: HTTP 400: bad header Authorization: Bearer [the key]\n"
    model = fl.load("openai:m", base_url=server.url, api_key_env="MY_KEY")
    written = [file.read_bytes() for file in tmp_path.rglob("*") if file.is_file()]
    assert len(written) > 3
    for held in (out, err, told, repr(model), model.digest, str(model.about), *map(repr, written)):
        assert KEY not in held


def test_a_run_whose_endpoint_fails_is_recorded_and_nothing_is_lost(
    serve: Serve, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    server = serve(lambda body, tries: Reply("", 400) if "shape" in question(body) else echo(body, tries))
    command = ["eval", "--model", "openai:m", "--base-url", server.url, "--tasks", "easy-vqa", "--limit", "30"]
    assert run([*command, "--concurrency", "3"]) == 3
    assert "questions have no answer" in capsys.readouterr().err
    (journal,) = tmp_path.glob("results/runs/*/journal.jsonl")
    lines = [json.loads(line) for line in journal.read_text().splitlines()]
    assert len({line["id"] for line in lines}) == 30
    failed = [line for line in lines if line["error"]]
    assert failed and all(line["error"]["kind"] == "HTTP 400" for line in failed)
    held = json.loads((journal.parent / "run.json").read_text())
    assert (held["n"], held["n_errors"]) == (30, len(failed))
    assert held["generated_tokens"] == 3 * (30 - len(failed)) and held["prompt_tokens"] == 11 * (30 - len(failed))
    assert (held["model"], held["backend"]) == ("openai:m", "openai")


def test_an_endpoint_that_cannot_be_used_is_one_line_before_anything_is_asked(
    serve: Serve, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)

    def fails(*settings: str, model: str = "openai:m") -> str:
        assert run(["eval", "--model", model, "--tasks", "easy-vqa", *settings]) == 2
        out, err = capsys.readouterr()
        assert out == "" and len(err.splitlines()) == 1 and err.startswith("error: ")
        assert not list(tmp_path.iterdir())
        return err

    def against(script: Script, *settings: str) -> str:
        return fails("--base-url", serve(script).url, "--retries", "0", *settings)

    assert "needs --base-url URL" in fails()
    for address in ("localhost:8000", "ftp://a/v1", "http://", "http://[::1"):
        assert "is no address" in fails("--base-url", address)
    for address in ("http://me:secret@127.0.0.1/v1", "http://127.0.0.1/v1?key=secret"):
        assert "holds no name, key or query" in (told := fails("--base-url", address)) and "secret" not in told
    began = time.monotonic()
    assert "http://127.0.0.1:9/v1 cannot be reached" in fails("--base-url", "http://127.0.0.1:9/v1")
    assert time.monotonic() - began < 5
    assert "wants a key, and none is given: put it into OPENAI_API_KEY" in against(lambda body, tries: Reply("", 401))
    assert "--api-key-env NO_KEY: there is no such" in against(echo, "--api-key-env", "NO_KEY")
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    assert "refuses the key" in against(lambda body, tries: Reply(f"{KEY}?", 403))
    monkeypatch.setenv("OPENAI_API_KEY", "schlüssel")
    assert "holds signs that no key has" in against(echo)
    monkeypatch.delenv("OPENAI_API_KEY")
    assert "has no model 'm'" in against(lambda body, tries: Reply({"detail": "Not Found"}, 404))
    assert "has no model 'm'" in fails("--base-url", serve(echo).url.removesuffix("/v1"))
    assert "about a picture, asked of 'm': HTTP 400: text only" in against(lambda body, tries: Reply("text only", 400))
    assert "HTTP 503: loading" in against(lambda body, tries: Reply("loading", 503))
    assert "the reply cannot be read" in against(lambda body, tries: Reply("<html>"))
    assert "no answer within 0.2 seconds" in against(
        lambda body, tries: Reply(delay_seconds=1), "--timeout-seconds", "0.2"
    )
    for setting, value in (("--concurrency", "0"), ("--retries", "-1"), ("--timeout-seconds", "0")):
        assert "must be" in against(echo, setting, value)
    assert "names no model; write openai:NAME" in fails(model="openai:")
    for setting in (
        ["--device", "cpu"],
        ["--dtype", "float32"],
        ["--template", "a"],
        ["--download"],
        ["--vision", "a"],
    ):
        assert f"takes no {setting[0]}; it takes --base-url, --api-key-env" in against(echo, *setting)


def test_a_model_that_reads_words_alone_can_still_judge(serve: Serve, pictures: list[fl.Image]) -> None:
    def words_alone(body: Any, tries: int) -> Reply:
        return Reply("no image input", 400) if "image_url" in str(body) else echo(body, tries)

    loaded = impatient(serve(words_alone)).tried()
    assert loaded.limits.images == 0
    assert loaded.sent(fl.Request("w", fl.Prompt.ask("grade this"))).images == 0
    with pytest.raises(BadSetting, match="takes no pictures; it can judge words"):
        loaded.sent(fl.Request("p", fl.Prompt.ask(pictures[0], "what is it?")))


def test_trials_are_patient_with_what_passes(serve: Serve) -> None:
    server = serve(lambda body, tries: Reply("", 503) if tries < 3 else echo(body, tries))
    assert impatient(server).tried().limit == "max_tokens"
    with pytest.raises(BadEndpoint):
        impatient(serve(lambda body, tries: Reply("", 503))).tried()


def test_digest_names_the_endpoint_and_the_model(serve: Serve) -> None:
    server = serve(echo)
    model = impatient(server)
    assert model.name == "openai:m"
    assert model.digest == impatient(server, concurrency=3, retries=0, key="other").digest
    assert model.digest != replace(model, served="n").digest
    assert model.digest != impatient(serve(echo)).digest
