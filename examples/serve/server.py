"""Serves an exported classifier over HTTP: FastAPI, uvicorn and ONNX Runtime.

    rfaconv export rfa_resnet18 --to onnx --out rfa_resnet18.onnx
    python examples/serve/server.py rfa_resnet18.onnx
    curl --data-binary @cat.jpg -H 'Content-Type: image/jpeg' http://127.0.0.1:8000/classify

Needs the extra serve, and neither PyTorch nor rfaconv while it runs.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import uvicorn
from fastapi import FastAPI, HTTPException, Query, Request
from starlette.requests import ClientDisconnect

from batching import Batcher
from images import FORMATS, BadImage, decode, limit_pixels
from model import Classifier, ModelError
from protocol import PatientProtocol


@dataclass(frozen=True)
class Limits:
    max_bytes: int  # of one picture's file
    max_pixels: int
    max_pending: int  # requests between their headers and their answer
    max_batch: int
    max_wait: float  # seconds
    client_seconds: float  # that a client has to send its picture
    decode_threads: int


class Pending:
    """Counts requests and refuses those above the limit, so that none waits long for its no."""

    def __init__(self, limit: int) -> None:
        self._limit, self._count = limit, 0

    @property
    def full(self) -> bool:
        return self._count >= self._limit

    @contextmanager
    def admit(self) -> Iterator[None]:
        if self.full:
            raise HTTPException(503, "too many requests at once", {"Retry-After": "1"})
        self._count += 1
        try:
            yield
        finally:
            self._count -= 1


def build_app(classifier: Classifier, limits: Limits) -> FastAPI:
    limit_pixels(limits.max_pixels)
    batcher = Batcher(classifier.probabilities, limits.max_batch, limits.max_wait)
    decoders = ThreadPoolExecutor(limits.decode_threads, "decode")
    pending = Pending(limits.max_pending)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with batcher:
            yield
        decoders.shutdown()

    # the pages with the API's description would load scripts from elsewhere
    app = FastAPI(title="rfaconv", lifespan=lifespan, docs_url=None, redoc_url=None)

    @app.get("/health")
    async def health() -> dict:
        """Answers as long as the process does."""
        return {"status": "ok"}

    @app.get("/ready")
    async def ready() -> dict:
        """Whether a picture would be taken now."""
        if pending.full or not batcher.alive:
            raise HTTPException(503, "busy", {"Retry-After": "1"})
        return {
            "status": "ready",
            "rfaconv": classifier.version,
            "classes": len(classifier.classes),
            "input_size": [classifier.height, classifier.width],
        }

    @app.post("/classify")
    async def classify(request: Request, top: Annotated[int, Query(ge=1)] = 5) -> dict:
        """The likeliest classes of the picture in the body."""
        content_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if content_type not in FORMATS:
            raise HTTPException(415, f"expected {' or '.join(FORMATS)}, got {content_type!r}")
        with pending.admit():
            body = await read(request, limits)
            try:
                image = await asyncio.get_running_loop().run_in_executor(
                    decoders,
                    decode,
                    body,
                    content_type,
                    (classifier.height, classifier.width),
                    classifier.channels,
                )
            except BadImage as error:
                raise HTTPException(error.status, str(error)) from error
            chances = await batcher(image)
        order = (-chances).argsort()[:top]
        return {
            "classes": [
                {"name": classifier.classes[i], "probability": float(chances[i])} for i in order
            ]
        }

    return app


async def read(request: Request, limits: Limits) -> bytes:
    """The body of a request, given up as soon as it is too long or too slow."""
    too_long = HTTPException(413, f"expected at most {limits.max_bytes} bytes")
    # uvicorn has refused what is no number
    if int(request.headers.get("content-length", 0)) > limits.max_bytes:
        raise too_long
    body = bytearray()
    try:
        async with asyncio.timeout(limits.client_seconds):
            async for chunk in request.stream():
                body += chunk
                if len(body) > limits.max_bytes:
                    raise too_long
    except TimeoutError:
        raise HTTPException(408, f"no whole body in {limits.client_seconds} s") from None
    except ClientDisconnect:
        raise HTTPException(400, "the client has gone") from None
    if not body:
        raise HTTPException(400, "expected a picture, got an empty body")
    return bytes(body)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__.splitlines()[0], formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument("model", type=Path, help="ONNX file")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8000)
    parser.add_argument("--threads", type=positive, default=1, help="of one network run")
    parser.add_argument("--decode-threads", type=positive, default=1)
    parser.add_argument("--max-batch", type=positive, default=8)
    parser.add_argument("--max-wait-ms", type=float, default=4.0)
    parser.add_argument("--max-pending", type=positive, default=64, help="requests; then 503")
    parser.add_argument("--max-bytes", type=positive, default=4 << 20)
    parser.add_argument("--max-pixels", type=positive, default=1 << 24)
    parser.add_argument("--client-seconds", type=float, default=10.0, help="to send a request")
    parser.add_argument("--max-connections", type=positive, default=512)
    words = parser.parse_args()
    limits = Limits(
        words.max_bytes,
        words.max_pixels,
        words.max_pending,
        words.max_batch,
        words.max_wait_ms / 1000,
        words.client_seconds,
        words.decode_threads,
    )
    try:
        classifier = Classifier(words.model, words.threads)
        classifier.warm_up(words.max_batch)
    except ModelError as error:
        sys.exit(str(error))
    PatientProtocol.seconds = words.client_seconds
    uvicorn.run(
        build_app(classifier, limits),
        host=words.host,
        port=words.port,
        http=PatientProtocol,
        ws="none",
        access_log=False,
        server_header=False,
        proxy_headers=False,
        limit_concurrency=words.max_connections,
        timeout_graceful_shutdown=10,
    )


def positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"expected 1 or more, got {number}")
    return number


if __name__ == "__main__":
    main()
