"""Sends pictures to the server at a fixed rate and reports what came back.

    python examples/serve/load.py --model rfa_resnet18.onnx --rate 20 --seconds 60 --out result.json

Starts the server of this folder on a free port, or takes a running one with ``--url`` (and
``--pid`` to watch its memory). Open loop: a request leaves at its time whether or not earlier ones
are answered, and its latency counts from that time. A share of the requests may be hostile; those
must get the status that they deserve. Ends by itself, with exit status 1 after any failure.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import re
import socket
import statistics
import subprocess
import sys
import time
from collections import Counter
from importlib.metadata import version
from pathlib import Path

import httpx

from hostile import Hostile, hostile_requests, picture
from rfaconv.bench.environment import describe
from rfaconv.files import strict_json, write_atomic

MAX_REQUESTS, MAX_SECONDS = 1_000_000, 3600
PATIENCE = 30.0  # seconds for one answer
SERVER = Path(__file__).with_name("server.py")


async def load(
    url: str, rate: float, seconds: float, share: float, bad: dict[str, Hostile], pid: int | None
) -> dict:
    """Runs the load; ``share`` of it is of the kinds in ``bad``, in turn."""
    good = [Hostile("image/jpeg", picture("JPEG", (640, 480)), 200) for _ in range(16)]
    goods, bads = itertools.cycle(good), itertools.cycle(bad.items())
    latencies: list[float] = []
    hostile, failures = 0, Counter()
    memory = []

    async def send(due: float, name: str, message: Hostile) -> None:
        headers = {"Content-Type": message.content_type} if message.content_type else {}
        try:
            answer = await client.post(url + "/classify", content=message.body, headers=headers)
            status = str(answer.status_code)
        except httpx.HTTPError as error:
            status = type(error).__name__
        if status != str(message.status):
            failures[f"{name}: {status}, expected {message.status}"] += 1
        elif message.status == 200:
            latencies.append(time.perf_counter() - due)

    count = int(rate * seconds)
    limits = httpx.Limits(max_connections=256, max_keepalive_connections=256)
    async with httpx.AsyncClient(timeout=PATIENCE, limits=limits, trust_env=False) as client:
        memory.append(resident_mib(pid))
        start = time.perf_counter()
        async with asyncio.TaskGroup() as tasks:
            for i in range(count):
                due = start + i / rate
                await asyncio.sleep(max(0, due - time.perf_counter()))
                if int(i * share) < int((i + 1) * share):
                    hostile += 1
                    tasks.create_task(send(due, *next(bads)))
                else:
                    tasks.create_task(send(due, "picture", next(goods)))
                if i % max(1, int(rate)) == 0:
                    memory.append(resident_mib(pid))
                    progress = f"{i}/{count} sent, {sum(failures.values())} failed"
                    print(f"\r{progress}", end="", file=sys.stderr)
        wall = time.perf_counter() - start
        print(f"\r{count}/{count} sent, {sum(failures.values())} failed", file=sys.stderr)
        memory.append(resident_mib(pid))
        alive = (await client.get(url + "/health")).status_code == 200
    return {
        "rate": rate,
        "seconds": seconds,
        "requests": count - hostile,
        "hostile_requests": hostile,
        "hostile_kinds": min(hostile, len(bad)),
        "failures": sum(failures.values()),
        "failures_by_kind": dict(failures),
        "alive_at_end": alive,
        "answered_per_second": len(latencies) / wall,
        "latency_ms": percentiles(latencies),
        "server_rss_mib": summary(memory) if pid is not None else None,
    }


def percentiles(seconds: list[float]) -> dict[str, float]:
    if len(seconds) < 2:
        return {}
    cuts = statistics.quantiles(seconds, n=1000, method="inclusive")
    found = {"p50": cuts[499], "p90": cuts[899], "p99": cuts[989], "max": max(seconds)}
    return {name: round(1000 * value, 2) for name, value in found.items()}


def resident_mib(pid: int | None) -> float | None:
    """Memory of a process that is in use; None where the system has no /proc."""
    try:
        status = Path(f"/proc/{pid}/status").read_text(encoding="utf-8")
    except OSError:
        return None
    found = re.search(r"VmRSS:\s+(\d+) kB", status)
    return round(int(found[1]) / 1024, 1) if found else None


def summary(memory: list[float | None]) -> dict:
    known = [m for m in memory if m is not None]
    if not known:
        return {}
    half = len(known) // 2
    return {
        "start": known[0],
        "end": known[-1],
        "max_first_half": max(known[: half or 1]),
        "max_second_half": max(known[half:]),
    }


def start_server(model: Path, options: list[str]) -> tuple[subprocess.Popen, str]:
    """The server of this folder on a free port of this machine, once it is ready."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, str(SERVER), str(model), "--port", str(port), *options]
    process = subprocess.Popen(command)
    url = f"http://127.0.0.1:{port}"
    for _ in range(600):
        if process.poll() is not None:
            raise SystemExit(f"the server ended with {process.returncode}")
        try:
            if httpx.get(url + "/ready", trust_env=False).status_code == 200:
                return process, url
        except httpx.TransportError:
            time.sleep(0.1)
    process.kill()
    raise SystemExit("the server was not ready in a minute")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    target = parser.add_mutually_exclusive_group(required=True)
    target.add_argument("--model", type=Path, help="start the server with this ONNX file")
    target.add_argument("--url", help="of a server that runs")
    parser.add_argument("--pid", type=int, help="of the server at --url")
    parser.add_argument("--server", default="", help="options of the server, in one word")
    parser.add_argument("--rate", type=float, required=True, help="requests in a second")
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--hostile", type=float, default=0.0, help="share of the requests, 0 to 1")
    parser.add_argument("--out", type=Path, help="JSON; printed if absent")
    parser.add_argument("--max-bytes", type=int, default=4 << 20, help="limit of the server")
    parser.add_argument("--max-pixels", type=int, default=1 << 24, help="limit of the server")
    words = parser.parse_args()
    if not 0 < words.seconds <= MAX_SECONDS or not 1 <= words.rate * words.seconds <= MAX_REQUESTS:
        parser.error(f"expected 1 to {MAX_REQUESTS} requests in at most {MAX_SECONDS} seconds")
    if not 0 <= words.hostile <= 1:
        parser.error(f"--hostile: expected a share from 0 to 1, got {words.hostile}")
    bad = hostile_requests(words.max_bytes, words.max_pixels)
    process, url, pid = None, words.url, words.pid
    if words.model is not None:
        process, url = start_server(words.model, words.server.split())
        pid = process.pid
    try:
        result = asyncio.run(load(url, words.rate, words.seconds, words.hostile, bad, pid))
    finally:
        if process is not None:
            process.terminate()
            process.wait(timeout=30)
    packages = ("fastapi", "starlette", "uvicorn", "h11", "httpx", "onnxruntime", "pillow")
    result = {
        "model": words.model.stem if words.model else None,
        "server_options": words.server,
        **result,
        "environment": describe() | {"serving": {name: version(name) for name in packages}},
    }
    if words.out:
        write_atomic(words.out, strict_json(result))
    else:
        print(strict_json(result), end="")
    if result["failures"] or not result["alive_at_end"]:
        sys.exit(1)


if __name__ == "__main__":
    main()
