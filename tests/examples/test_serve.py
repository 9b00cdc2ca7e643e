"""The serving example: a real server process on this machine, met by good and by bad clients."""

import asyncio
import contextlib
import io
import json
import signal
import socket
import subprocess
import sys
import threading
import time
import warnings
from pathlib import Path

import httpx
import numpy as np
import onnx
import pytest
import torch
from PIL import Image
from torch import nn

import rfaconv
from rfaconv import RFAConv2d

FOLDER = Path(__file__).resolve().parents[2] / "examples" / "serve"
SIZE = (24, 32)
MEAN, STD = (0.5, 0.4, 0.3), (0.2, 0.25, 0.3)
CLASSES = ["cat", "dog", "hörnchen", "elk", "owl"]
sys.path.insert(0, str(FOLDER))
try:
    from batching import Batcher
    from hostile import hostile_requests
finally:
    sys.path.remove(str(FOLDER))
HOSTILE = hostile_requests(max_bytes=1 << 20, max_pixels=1 << 20)


class Network(nn.Module):
    def __init__(self):
        super().__init__()
        self.features = RFAConv2d(3, 8, 3, stride=2, padding=1)
        self.head = nn.Linear(8, len(CLASSES))

    def forward(self, x):
        return self.head(self.features(x).mean((2, 3)))


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    return Network().eval()


@pytest.fixture(scope="module")
def model(network, tmp_path_factory):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the exporter's own old parts
        program = torch.onnx.export(
            network,
            (torch.zeros(2, 3, *SIZE),),
            dynamo=True,
            verbose=False,
            dynamic_shapes=({0: torch.export.Dim.DYNAMIC},),
        )
    program.model.metadata_props.update(
        {
            "rfaconv.version": rfaconv.__version__,
            "rfaconv.classes": json.dumps(CLASSES),
            "rfaconv.mean": json.dumps(MEAN),
            "rfaconv.std": json.dumps(STD),
            "rfaconv.input_size": json.dumps(SIZE),
        }
    )
    path = tmp_path_factory.mktemp("serve") / "model.onnx"
    program.save(path)
    return path


@contextlib.contextmanager
def serving(model, *options):
    """A server process and a client of it."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, FOLDER / "server.py", model, "--port", str(port), *options]
    log = model.with_name(f"{port}.log")
    with log.open("w", encoding="utf-8") as file:
        process = subprocess.Popen(command, stderr=file)
    process.log = log
    limits = httpx.Limits(max_connections=None)
    client = httpx.Client(
        base_url=f"http://127.0.0.1:{port}", timeout=60, limits=limits, trust_env=False
    )
    try:
        for _ in range(600):
            assert process.poll() is None, log.read_text(encoding="utf-8")
            with contextlib.suppress(httpx.TransportError):
                if client.get("/ready").status_code == 200:
                    break
            time.sleep(0.1)
        yield process, client
    finally:
        client.close()
        process.kill()
        process.wait()


@pytest.fixture(scope="module")
def server(model):
    options = ("--max-bytes", str(1 << 20), "--max-pixels", str(1 << 20))
    with serving(model, *options) as (process, client):
        yield process, client


@pytest.fixture(scope="module")
def narrow(model):
    """Takes four requests, keeps each half a second, has little patience."""
    options = ("--max-pending", "4", "--max-wait-ms", "500", "--client-seconds", "1")
    with serving(model, *options) as (process, client):
        yield process, client


def picture(seed, height, width):
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def ask(client, body, content_type="image/png", **parameters):
    headers = {"Content-Type": content_type} if content_type else {}
    return client.post("/classify", content=body, headers=headers, params=parameters)


def chances(answer):
    assert answer.status_code == 200, answer.text
    return {c["name"]: c["probability"] for c in answer.json()["classes"]}


def ask_at_once(client, bodies):
    answers = [None] * len(bodies)

    def one(i):
        answers[i] = ask(client, bodies[i])

    threads = [threading.Thread(target=one, args=(i,)) for i in range(len(bodies))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    return answers


def talk(client, *parts, pause=0.0):
    """What the server answers to these bytes until it or we close."""
    address = (client.base_url.host, client.base_url.port)
    with socket.create_connection(address, timeout=20) as connection:
        for part in parts:
            connection.sendall(part)
            time.sleep(pause)
        answer = b""
        with contextlib.suppress(ConnectionResetError):
            while chunk := connection.recv(65536):
                answer += chunk
                if b"}" in answer:
                    break
    return answer


@pytest.mark.parametrize("size", [SIZE, (75, 50)], ids=["as is", "resized"])
def test_answers_are_those_of_the_network(server, network, size):
    body = picture(1, *size)
    pixels = Image.open(io.BytesIO(body)).resize(SIZE[::-1], Image.Resampling.BILINEAR)
    x = torch.from_numpy(np.array(pixels)).permute(2, 0, 1)[None] / 255
    mean, std = (torch.tensor(v)[:, None, None] for v in (MEAN, STD))
    with torch.no_grad():
        expected = network((x - mean) / std).softmax(1)[0]
    answer = ask(server[1], body, top=9)
    found = chances(answer)
    assert list(found) == [CLASSES[i] for i in expected.argsort(descending=True)]
    torch.testing.assert_close(
        torch.tensor([found[name] for name in CLASSES]), expected, rtol=1e-5, atol=1e-7
    )
    assert list(chances(ask(server[1], body, top=2))) == list(found)[:2]


def test_requests_at_once_get_their_own_answers(server):
    bodies = [picture(seed, 30 + seed, 40) for seed in range(12)]
    alone = [chances(ask(server[1], body)) for body in bodies]
    together = [chances(answer) for answer in ask_at_once(server[1], bodies)]
    for one, other in zip(alone, together, strict=True):
        assert one == pytest.approx(other, rel=1e-5)
    assert len({round(one["cat"], 9) for one in alone}) == len(bodies)


def test_batcher_fills_batches_and_survives_errors():
    sizes = []

    def run(items):
        sizes.append(len(items))
        if any(item < 0 for item in items):
            raise ValueError("negative")
        return [10 * item for item in items]

    async def use():
        async with Batcher(run, max_batch=4, max_wait=0.05) as batcher:
            assert await asyncio.gather(*(batcher(i) for i in range(10))) == [
                10 * i for i in range(10)
            ]
            with pytest.raises(ValueError, match="negative"):
                await batcher(-1)
            assert await batcher(7) == 70
            assert batcher.alive
        assert not batcher.alive

    asyncio.run(use())
    assert sizes == [4, 4, 2, 1, 1]


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_bodies(server, name):
    hostile = HOSTILE[name]
    answer = ask(server[1], hostile.body, hostile.content_type)
    assert answer.status_code == hostile.status, answer.text
    assert answer.json()["detail"]
    assert server[0].poll() is None
    assert server[1].get("/ready").status_code == 200
    assert "Traceback" not in server[0].log.read_text(encoding="utf-8")


def test_body_without_an_end_is_refused(server):
    def stream():
        for _ in range(64):
            yield bytes(1 << 16)

    assert ask(server[1], stream()).status_code == 413


def test_wrong_requests(server):
    client = server[1]
    assert client.get("/classify").status_code == 405
    assert client.get("/docs").status_code == 404
    assert ask(client, picture(0, 8, 8), top=0).status_code == 422
    lines = b"POST /classify HTTP/1.1\r\nHost: x\r\nContent-Type: image/png\r\n"
    assert talk(client, lines + b"Content-Length: -5\r\n\r\n").startswith(b"HTTP/1.1 400")
    assert talk(client, b"\x16\x03\x01\x02\x00nonsense\r\n\r\n").startswith(b"HTTP/1.1 400")
    assert talk(client, lines + b"X: " + bytes(65).hex().encode() * 1000).startswith(b"HTTP/1.1 4")
    assert client.get("/health").json() == {"status": "ok"}


def test_slow_clients_are_given_up(narrow):
    head = b"POST /classify HTTP/1.1\r\nHost: x\r\nContent-Type: image/png\r\n"
    begin = time.monotonic()
    answer = talk(narrow[1], head + b"Content-Length: 1000\r\n\r\n", b"12345")
    assert answer.startswith(b"HTTP/1.1 408")
    assert talk(narrow[1], head) == b""  # headers that never end: closed without an answer
    assert time.monotonic() - begin < 15
    assert narrow[1].get("/ready").status_code == 200


def test_burst_beyond_the_queue_is_refused_at_once(narrow):
    begin = time.monotonic()
    answers = ask_at_once(narrow[1], [picture(0, 8, 8)] * 40)
    assert time.monotonic() - begin < 30
    refused = [answer for answer in answers if answer.status_code == 503]
    assert len(refused) >= 10
    assert all(answer.headers["Retry-After"] == "1" for answer in refused)
    assert sum(answer.status_code == 200 for answer in answers) == 40 - len(refused) >= 4
    assert ask(narrow[1], picture(0, 8, 8)).status_code == 200


def test_load_without_a_failure(server):
    command = [sys.executable, FOLDER / "load.py", "--url", str(server[1].base_url).rstrip("/")]
    options = ["--pid", str(server[0].pid), "--rate", "20", "--seconds", "5", "--hostile", "0.1"]
    limits = ["--max-bytes", str(1 << 20), "--max-pixels", str(1 << 20)]
    done = subprocess.run([*command, *options, *limits], capture_output=True, encoding="utf-8")
    assert done.returncode == 0, done.stdout + done.stderr
    result = json.loads(done.stdout)
    assert result["requests"] + result["hostile_requests"] == 100
    assert result["failures"] == 0
    assert result["latency_ms"]["p99"] > 0
    if sys.platform == "linux":
        memory = result["server_rss_mib"]
        assert memory["end"] < memory["start"] + 100  # a decoded bomb alone is larger


def test_sigterm_answers_what_is_under_way(model):
    with serving(model, "--max-wait-ms", "1000") as (process, client):
        answers = []
        thread = threading.Thread(target=lambda: answers.append(ask(client, picture(0, 8, 8))))
        thread.start()
        time.sleep(0.5)
        process.send_signal(signal.SIGTERM)
        thread.join(30)
        # uvicorn ends by the signal that it was sent, after it has shut down
        assert process.wait(30) == -signal.SIGTERM
        log = process.log.read_text(encoding="utf-8")
    assert answers[0].status_code == 200
    assert "Application shutdown complete" in log
    assert "Traceback" not in log


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("rfaconv.mean", None, "expected rfaconv.mean in the file's metadata"),
        ("rfaconv.std", "[0, 1, 1]", "std > 0"),
        ("rfaconv.classes", '["one"]', "one number per class"),
    ],
)
def test_models_that_cannot_be_served(model, tmp_path, key, value, message):
    proto = onnx.load(model)
    kept = {p.key: p.value for p in proto.metadata_props} | {key: value}
    onnx.helper.set_model_props(proto, {k: v for k, v in kept.items() if v is not None})
    onnx.save(proto, tmp_path / "bad.onnx")
    command = [sys.executable, FOLDER / "server.py", tmp_path / "bad.onnx", "--port", "1"]
    done = subprocess.run(command, capture_output=True, timeout=60, encoding="utf-8")
    assert done.returncode == 1
    assert done.stderr.startswith("model: expected") and message in done.stderr
